"""Method names and registration of two images."""

from .files import picture, register_files
from .method import LearnedMethod, Method
from .register import Registration, register
from .table import bundle_dir, bundle_method, load_method, method_names

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
]
