"""A pair holds what fits together, and says what does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_cellreg.geometry import Pair, SamplingGrid


def test_images_bring_their_own_grids() -> None:
    plain = Pair.of(torch.zeros(1, 4, 6), torch.zeros(3, 5, 7))
    assert (plain.fixed_grid.shape, plain.moving_grid.shape) == ((4, 6), (5, 7))
    affine = np.diag([0.5, 2.0, 3.0, 1.0])
    placed = Pair.of(*(MetaTensor(torch.zeros(1, 4, 6, 5), affine=torch.tensor(a)) for a in (affine, np.eye(4))))
    assert (placed.fixed_grid.spacing, placed.moving_grid.spacing) == ((0.5, 2.0, 3.0), (1.0, 1.0, 1.0))
    assert placed.fixed_grid.frame == "RAS"


@pytest.mark.parametrize("part", ["fixed", "moving", "fixed_label", "moving_label"])
def test_part_that_does_not_fit_its_grid_is_named(part: str) -> None:
    grids = {"fixed_grid": SamplingGrid((4, 6)), "moving_grid": SamplingGrid((5, 7))}
    parts = {name: torch.zeros(1, *grids[f"{name}_grid"].shape) for name in ("fixed", "moving")}
    labels = {f"{name}_label": image for name, image in parts.items()}
    Pair(**parts, **labels, **grids)
    shape = grids[part.removesuffix("_label") + "_grid"].shape
    bad = {**parts, **labels, part: torch.zeros(1, 6, 4)}
    with pytest.raises(
        ValueError, match=rf"^{part} has shape 1x6x4 but its grid is {shape[0]}x{shape[1]}; expected \(C"
    ):
        Pair(**bad, **grids)


def test_images_of_different_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="^fixed is 2D in frame 'index' but moving is 3D in frame 'index'; .* Convert"):
        Pair.of(torch.zeros(1, 4, 6), torch.zeros(1, 4, 6, 5))
    with pytest.raises(ValueError, match="^fixed is 2D in frame 'index' but moving is 2D in frame 'RAS'"):
        Pair.of(torch.zeros(1, 4, 6), MetaTensor(torch.zeros(1, 4, 6)))


def test_images_in_different_units_are_refused_until_one_is_converted() -> None:
    image, affine = torch.zeros(1, 4, 6), np.diag([0.5, 0.5, 1])
    micro, milli, other = (SamplingGrid((4, 6), affine, unit=unit) for unit in ("µm", "mm", "um"))
    with pytest.raises(ValueError, match="^fixed is measured in µm but moving in mm; .* SamplingGrid.in_unit$"):
        Pair(image, image, micro, milli)
    pair = Pair(image, image, micro, milli.in_unit("µm"))
    assert pair.moving_grid.spacing == pytest.approx((500.0, 500.0))
    assert Pair(image, image, micro, other).moving_grid is other  # two ways to write one unit
