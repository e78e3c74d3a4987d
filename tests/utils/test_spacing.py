"""A spacing is taken in every form a caller has it in, and refused by one sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_cellreg.utils import axis_spacing, check_spacing, in_units


@pytest.mark.parametrize(
    ("given", "dims", "expected"),
    [
        (None, 3, (1.0, 1.0, 1.0)),
        (2, 2, (2.0, 2.0)),
        (np.float32(0.5), 2, (0.5, 0.5)),
        ([2, 0.5, 3], 3, (2.0, 0.5, 3.0)),
        (np.array([1, 4]), 2, (1.0, 4.0)),
        (torch.tensor([0.25, 4.0]), 2, (0.25, 4.0)),
        ((7.0,), 1, (7.0,)),
    ],
)
def test_one_number_an_axis(given: object, dims: int, expected: tuple[float, ...]) -> None:
    check_spacing(given)
    found = axis_spacing(given, dims)
    assert found == expected
    assert type(found) is tuple and {type(length) for length in found} == {float}


@pytest.mark.parametrize("given", [0, -1.0, float("nan"), float("inf"), (1.0, 0.0), [2.0, -3.0]])
def test_a_length_is_finite_and_above_zero(given: object) -> None:
    for ask in (check_spacing, lambda spacing: axis_spacing(spacing, 2)):
        with pytest.raises(ValueError, match=r"^spacing is .*, expected finite numbers above 0; set spacing"):
            ask(given)


def test_a_sequence_without_lengths_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^spacing is \(\), expected finite numbers above 0"):
        check_spacing(())
    with pytest.raises(ValueError, match=r"^spacing is \(\) for 2 axes, expected one number"):
        axis_spacing((), 2)


@pytest.mark.parametrize(("given", "dims"), [((1.0,), 2), ((1.0, 2.0), 3), ((1.0, 2.0, 3.0), 2)])
def test_as_many_lengths_as_axes(given: tuple[float, ...], dims: int) -> None:
    check_spacing(given)
    text = rf"^spacing is \({given[0]},.*\) for {dims} axes, expected one number, or one for each axis; give {dims} num"
    with pytest.raises(ValueError, match=text):
        axis_spacing(given, dims)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_components_are_scaled_along_their_axis(axis: int) -> None:
    vectors = torch.randn(3, 3, 3, generator=torch.Generator().manual_seed(0))
    shape = [1, 1, 1]
    shape[axis] = 3
    expected = vectors.numpy() * np.reshape([0.5, 2.0, 4.0], shape)
    found = in_units(vectors, (0.5, 2.0, 4.0), axis=axis)
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found, expected)
    assert in_units(vectors, None, axis=axis) is vectors
    torch.testing.assert_close(in_units(vectors, 2.0, axis=axis), 2 * vectors, rtol=0, atol=0)


def test_vectors_of_another_dimension_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^spacing is \(1.0, 2.0\) for 3 axes, expected one number"):
        in_units(torch.zeros(5, 3), (1.0, 2.0), axis=1)
