"""Argument checks: each returns nothing when the argument is fine and raises a full sentence when it is not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import numpy as np
import torch

__all__ = ["check_choice", "check_finite", "check_positive", "check_same_shape", "check_spatial", "format_shape"]


def format_shape(shape: Sequence[int]) -> str:
    """The way every error text writes a shape.

    Args:
        shape: sizes of the axes.

    Returns:
        The sizes joined by ``x``; a scalar's empty shape is called so.

    Example:
        >>> format_shape((1, 2, 64, 48))
        '1x2x64x48'
    """
    return "x".join(str(int(size)) for size in shape) or "scalar"


def check_spatial(shape: Sequence[int], spatial_dims: int, name: str) -> None:
    """Check that a spatial shape has the wanted number of axes and no empty one.

    Args:
        shape: sizes of the spatial axes only, without batch and channel.
        spatial_dims: number of axes wanted, 2 or 3.
        name: what the shape belongs to, as the caller knows it.

    Raises:
        ValueError: if the number of axes differs or an axis has no elements.
    """
    if len(shape) != spatial_dims:
        raise ValueError(
            f"{name} has {len(shape)} spatial axes (shape {format_shape(shape)}), expected {spatial_dims}; "
            f"give an image with {spatial_dims} axes besides the channels, or set spatial_dims={len(shape)}"
        )
    if min(shape) < 1:
        raise ValueError(
            f"{name} has an empty axis (shape {format_shape(shape)}), expected every size to be 1 or more; "
            "check the crop or the slice that made it"
        )


def check_same_shape(name: str, shape: Sequence[int], other_name: str, other_shape: Sequence[int]) -> None:
    """Check that two things have one shape, such as an image and its labels.

    Args:
        name: the argument that is checked.
        shape: its shape.
        other_name: the argument that it has to fit.
        other_shape: the shape wanted.

    Raises:
        ValueError: if the shapes differ.
    """
    if tuple(shape) != tuple(other_shape):
        raise ValueError(
            f"{name} has shape {format_shape(shape)} but {other_name} has shape {format_shape(other_shape)}, "
            f"expected the same; resize or crop {name} to {other_name}, and check that the two belong together"
        )


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Check that a value is one of a closed list, and name the closest when it is not.

    Args:
        name: the argument that is checked.
        value: what was received.
        choices: what is allowed, in the order in which the text lists it.

    Raises:
        ValueError: if ``value`` is not among ``choices``.

    Example:
        >>> check_choice("method", "elastic", ["joint", "elastix"])
        Traceback (most recent call last):
        ValueError: method is 'elastic', expected one of 'joint', 'elastix'; did you mean 'elastix'?
    """
    allowed = list(choices)
    if value in allowed:
        return
    by_lower_case = {str(choice).lower(): choice for choice in allowed}
    closest = get_close_matches(str(value).lower(), by_lower_case, n=1)
    next_step = f"did you mean {by_lower_case[closest[0]]!r}?" if closest else "choose one of these"
    raise ValueError(f"{name} is {value!r}, expected one of {', '.join(map(repr, allowed))}; {next_step}")


def check_finite(name: str, values: torch.Tensor | np.ndarray) -> None:
    """Check that no value is NaN or infinite.

    Args:
        name: the argument that is checked.
        values: tensor or array of any shape and numeric type.

    Raises:
        ValueError: if a value is not finite; the text counts them and says where the first one is.
    """
    array = values.detach() if isinstance(values, torch.Tensor) else np.asarray(values)
    finite = torch.isfinite(array) if isinstance(array, torch.Tensor) else torch.as_tensor(np.isfinite(array))
    if bool(finite.all()):
        return
    bad = int((~finite).sum())
    first = tuple((~finite).nonzero()[0].tolist())
    raise ValueError(
        f"{name} holds {bad} of {finite.numel()} values that are NaN or infinite, the first at index {first} "
        f"(shape {format_shape(finite.shape)}), expected finite numbers only; replace or crop them before this call"
    )


def check_positive(name: str, value: float | Sequence[float]) -> None:
    """Check that a number, or each of several, is finite and above 0.

    Args:
        name: the argument that is checked.
        value: one number or a sequence of them.

    Raises:
        ValueError: if a number is 0, negative, NaN or infinite, or if there is none.
    """
    numbers = np.atleast_1d(np.asarray(value, dtype=np.float64))
    if numbers.size == 0 or not (np.isfinite(numbers) & (numbers > 0)).all():
        raise ValueError(f"{name} is {value!r}, expected finite numbers above 0; set {name} accordingly")


def check_not_negative(name: str, value: float | Sequence[float]) -> None:
    """Check that a number, or each of several, is finite and at least 0; see :func:`check_positive`."""
    numbers = np.atleast_1d(np.asarray(value, dtype=np.float64))
    if numbers.size == 0 or not (np.isfinite(numbers) & (numbers >= 0)).all():
        raise ValueError(f"{name} is {value!r}, expected finite numbers of at least 0; set {name} accordingly")
