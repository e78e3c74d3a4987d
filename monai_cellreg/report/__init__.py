"""Pictures and tables of registrations."""

from .evaluation import pair_rows, save_evaluation
from .overlay import PairPicture, iou_table, save_before_after

__all__ = ["PairPicture", "iou_table", "pair_rows", "save_before_after", "save_evaluation"]
