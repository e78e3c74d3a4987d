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
from .spacing import Spacing, axis_spacing, check_spacing, in_units
from .tensors import plain

__all__ = [
    "Spacing",
    "atomic_path",
    "axis_spacing",
    "check_choice",
    "check_finite",
    "check_not_negative",
    "check_positive",
    "check_same_shape",
    "check_spacing",
    "check_spatial",
    "ensure_writable_dir",
    "format_shape",
    "in_units",
    "plain",
]
