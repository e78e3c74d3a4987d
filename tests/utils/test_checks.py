"""Checks pass good arguments silently and name the argument, the value, what was wanted and a next step otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_cellreg.utils import (
    check_choice,
    check_finite,
    check_not_negative,
    check_positive,
    check_same_shape,
    check_spatial,
    format_shape,
)


@pytest.mark.parametrize(("shape", "text"), [((1, 2, 64, 48), "1x2x64x48"), (torch.Size([7]), "7"), ((), "scalar")])
def test_format_shape(shape: tuple[int, ...], text: str) -> None:
    assert format_shape(shape) == text


@pytest.mark.parametrize("shape", [(5, 1), torch.Size([4, 6]), [3, 4, 5]])
def test_check_spatial_accepts(shape: tuple[int, ...]) -> None:
    check_spatial(shape, len(shape), "image")


def test_check_spatial_refuses_wrong_number_of_axes() -> None:
    text = r"^fixed has 3 spatial axes \(shape 4x5x6\), expected 2; .*or set spatial_dims=3$"
    with pytest.raises(ValueError, match=text):
        check_spatial((4, 5, 6), 2, "fixed")


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
def test_check_spatial_refuses_empty_axis(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"^moving has an empty axis \(shape {shape[0]}x{shape[1]}\)"):
        check_spatial(shape, 2, "moving")


def test_check_same_shape() -> None:
    check_same_shape("labels", [4, 6], "image", torch.Size([4, 6]))
    with pytest.raises(ValueError, match=r"^labels has shape 6x4 but image has shape 4x6, expected the same; "):
        check_same_shape("labels", (6, 4), "image", (4, 6))


@pytest.mark.parametrize(
    ("value", "next_step"),
    [("elastic", "did you mean 'elastix'"), ("JOINT", "did you mean 'joint'"), ("zzz", "choose one of these")],
)
def test_check_choice_lists_choices_and_the_closest(value: str, next_step: str) -> None:
    with pytest.raises(ValueError, match=rf"^method is '{value}', expected one of 'joint', 'elastix'; {next_step}"):
        check_choice("method", value, ["joint", "elastix"])


def test_check_choice_takes_any_iterable_and_type() -> None:
    check_choice("spatial_dims", 3, (dims for dims in (2, 3)))
    with pytest.raises(ValueError, match=r"^spatial_dims is 4, expected one of 2, 3; "):
        check_choice("spatial_dims", 4, (2, 3))


def with_bad_values() -> np.ndarray:
    """A 2x3x5 array with a NaN and two infinities, the first at (0, 2, 1)."""
    array = np.ones((2, 3, 5), dtype=np.float32)
    array[0, 2, 1], array[1, 0, 4], array[1, 2, 0] = np.nan, np.inf, -np.inf
    return array


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor, lambda x: torch.as_tensor(x).to(torch.bfloat16)])
def test_check_finite_counts_and_finds_the_first(convert) -> None:
    text = r"^fixed holds 3 of 30 values that are NaN or infinite, the first at index \(0, 2, 1\) \(shape 2x3x5\)"
    with pytest.raises(ValueError, match=text):
        check_finite("fixed", convert(with_bad_values()))


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((3, 4), dtype=np.uint16),
        np.arange(12.0).reshape(3, 4)[::-1, ::-2],
        torch.ones(2, requires_grad=True),
        torch.zeros(0, 3),
    ],
)
def test_check_finite_accepts(values: np.ndarray | torch.Tensor) -> None:
    check_finite("values", values)


@pytest.mark.parametrize("value", [1, 0.5, (0.1, 2), torch.tensor([3.0, 4.0]), np.float32(1e-9)])
def test_check_positive_accepts(value: float) -> None:
    check_positive("spacing", value)


@pytest.mark.parametrize("value", [0, -1.5, float("nan"), float("inf"), (1.0, 0.0), (2.0, -3.0), ()])
def test_check_positive_refuses(value: float) -> None:
    with pytest.raises(ValueError, match=r"^spacing is .*, expected finite numbers above 0; set spacing"):
        check_positive("spacing", value)


def test_check_not_negative() -> None:
    check_not_negative("gamma", [0, 1.5])
    for value in (-0.1, float("nan"), float("inf"), [], [1, -1]):
        with pytest.raises(ValueError, match=r"gamma is .*, expected finite numbers of at least 0; set gamma"):
            check_not_negative("gamma", value)
