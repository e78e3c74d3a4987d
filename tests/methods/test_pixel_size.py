"""Where one image has no pixel size, that of the other is taken, or asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

import monai_cellreg as mc
from monai_cellreg.geometry import AffineTransform, Pair, SamplingGrid, SpatialTransform
from monai_cellreg.methods.pixel_size import in_one_unit

SIZED = np.array([[0.5, 0, 3], [0, 0.8, -7], [0, 0, 1]])


def sized(shape: tuple[int, ...] = (40, 56)) -> SamplingGrid:
    return SamplingGrid(shape, SIZED, unit="µm")


@pytest.mark.parametrize("shape", [(40, 56), (20, 112), (80, 30)])
def test_images_of_about_one_size_have_the_same_pixels(shape: tuple[int, int]) -> None:
    for turned in (False, True):
        grids = (SamplingGrid(shape), sized()) if turned else (sized(), SamplingGrid(shape))
        *found, said = in_one_unit(*grids)
        found, names = (found[::-1], ("fixed", "moving")) if turned else (found, ("moving", "fixed"))
        assert found[0].matches(sized()) and found[1].matches(sized(shape)) and found[1].unit == "µm"
        expected = (
            f"The {names[0]} image has no pixel size; it is taken to be that of the {names[1]} image, 0.5 x 0.8 µm."
        )
        assert said == expected


@pytest.mark.parametrize("shape", [(19, 56), (81, 56), (40, 113), (40, 27)])
def test_images_of_unlike_sizes_are_refused_with_the_way_out(shape: tuple[int, int]) -> None:
    pattern = r"moving has no pixel size \(\d+ x \d+ pixels\) but fixed has pixels of 0.5 x 0.8 µm \(40 x 56 of them\)"
    with pytest.raises(ValueError, match=f"{pattern}; expected .* Write that of moving into its file"):
        in_one_unit(sized(), SamplingGrid(shape))
    with pytest.raises(ValueError, match="fixed has no pixel size .* but moving has pixels of"):
        in_one_unit(SamplingGrid(shape), sized())


@pytest.mark.parametrize(
    "other",
    [
        SamplingGrid((40, 56), np.diag([2.0, 2.0, 1.0])),  # in an unknown unit
        SamplingGrid((40, 56), np.eye(3), "RAS"),
        SamplingGrid((40, 56, 4)),
        SamplingGrid((40, 56), np.diag([500.0, 800.0, 1.0]), unit="nm"),
    ],
    ids=["unknown unit", "frame", "volume", "other unit"],
)
def test_what_differs_otherwise_is_left_to_the_usual_checks(other: SamplingGrid) -> None:
    grid = sized()
    assert in_one_unit(grid, other) == (grid, other, "")
    with pytest.raises(ValueError, match="expected .* same"):
        grid.check_same_world("fixed", other, "moving")


class Told:
    """A method that answers with a shift."""

    def register(self, pair: Pair) -> SpatialTransform:
        return AffineTransform.translation([1.5, -1.6])


def test_registration_says_what_it_took_and_works_in_that_unit() -> None:
    values = np.random.default_rng(0).random((40, 56)).astype(np.float32)
    fixed = MetaTensor(torch.from_numpy(values[None]), affine=torch.from_numpy(SIZED))
    fixed.meta.update(space="index", unit="µm")
    result = mc.register(fixed, values, method=Told())
    assert result.account == (
        "The moving image has no pixel size; it is taken to be that of the fixed image, 0.5 x 0.8 µm.",
    )
    np.testing.assert_allclose(result.warped[:-3, 2:], values[3:, :-2], rtol=0, atol=1e-5)
    assert SamplingGrid.from_image(result.pair.moving).matches(sized())
    assert result.metrics["max_displacement"] == pytest.approx(np.hypot(1.5, 1.6))
