"""Method names and registration of two images."""

from .bundles import bundle_dir, bundle_method, run_bundle
from .files import picture, register_files
from .method import LearnedMethod, Method
from .register import register
from .registration import Registration
from .table import load_method, method_names

__all__ = [
    "LearnedMethod",
    "Method",
    "Registration",
    "bundle_dir",
    "bundle_method",
    "load_method",
    "method_names",
    "picture",
    "register",
    "register_files",
    "run_bundle",
]
