"""Method names and registration of two images."""

from .apply import Applied, ApplyOptions, apply_transform
from .bundles import bundle_dir, bundle_method, run_bundle
from .evaluate_files import EvaluationFiles, evaluate_files
from .files import picture, register_files
from .method import LearnedMethod, Method
from .pair_files import OutputOptions, PairFiles
from .register import register
from .registration import Registration
from .report_files import report_files
from .reporting import registration_page
from .table import load_method, method_names
from .verdict import judge

__all__ = [
    "Applied",
    "ApplyOptions",
    "EvaluationFiles",
    "LearnedMethod",
    "Method",
    "OutputOptions",
    "PairFiles",
    "Registration",
    "apply_transform",
    "bundle_dir",
    "bundle_method",
    "evaluate_files",
    "judge",
    "load_method",
    "method_names",
    "picture",
    "register",
    "register_files",
    "registration_page",
    "report_files",
    "run_bundle",
]
