"""Pictures, tables and pages of registrations."""

from .benchmark_page import BenchmarkPage, write_benchmark_page
from .curves import save_curves
from .evaluation import pair_rows, save_evaluation
from .metric_table import format_value, metric_title
from .overlay import PairPicture, iou_table, save_before_after
from .page import PairPage, write_pair_page
from .panels import Panel, save_panels
from .sequence_page import SequencePage, write_sequence_page
from .verdict import Verdict

__all__ = [
    "BenchmarkPage",
    "PairPage",
    "PairPicture",
    "Panel",
    "SequencePage",
    "Verdict",
    "format_value",
    "iou_table",
    "metric_title",
    "pair_rows",
    "save_before_after",
    "save_curves",
    "save_evaluation",
    "save_panels",
    "write_benchmark_page",
    "write_pair_page",
    "write_sequence_page",
]
