"""Registration of images and movies by any method, and what is done with the result."""

from .apply import Applied, ApplyOptions, apply_transform
from .bundles import bundle_dir, bundle_method, run_bundle
from .evaluate_files import EvaluationFiles, evaluate_files
from .files import picture, register_files
from .known import Known
from .method import AccountableMethod, BatchMethod, LearnedMethod, Method
from .optimisation import Optimisation
from .packed_inference import FramesAsChannelsd, WarpedMovingInferer
from .packing import pack_bundle
from .packing_checks import PackCheck, check_pack
from .pair_files import OutputOptions, PairFiles
from .refinement import Refinement
from .register import register
from .registration import Registration
from .report_files import report_files
from .reporting import registration_page
from .sequence import SequenceResult, register_sequence
from .sequence_options import SequenceOptions
from .slices import BatchSliceWise, SliceWise
from .table import METHODS, MethodEntry, limited_method, load_method, method_names
from .verdict import judge

__all__ = [
    "AccountableMethod",
    "Applied",
    "ApplyOptions",
    "BatchMethod",
    "BatchSliceWise",
    "EvaluationFiles",
    "FramesAsChannelsd",
    "Known",
    "LearnedMethod",
    "METHODS",
    "Method",
    "MethodEntry",
    "Optimisation",
    "OutputOptions",
    "PackCheck",
    "PairFiles",
    "Refinement",
    "Registration",
    "SequenceOptions",
    "SequenceResult",
    "SliceWise",
    "WarpedMovingInferer",
    "apply_transform",
    "bundle_dir",
    "bundle_method",
    "check_pack",
    "evaluate_files",
    "judge",
    "limited_method",
    "load_method",
    "method_names",
    "pack_bundle",
    "picture",
    "register",
    "register_files",
    "register_sequence",
    "registration_page",
    "report_files",
    "run_bundle",
]
