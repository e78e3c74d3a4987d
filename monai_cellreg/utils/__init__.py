"""Error texts and safe files, for every layer above."""

from .checks import (
    check_choice,
    check_finite,
    check_not_negative,
    check_positive,
    check_same_shape,
    check_spatial,
    format_shape,
)
from .files import atomic_path, ensure_writable_dir

__all__ = [
    "atomic_path",
    "check_choice",
    "check_finite",
    "check_not_negative",
    "check_positive",
    "check_same_shape",
    "check_spatial",
    "ensure_writable_dir",
    "format_shape",
]
