"""What of two images is compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_cellreg.engines.instance.features import comparable, is_bright
from monai_cellreg.engines.instance.smoothing import smooth
from monai_cellreg.geometry import Pair


def cells(*shape: int, seed: int = 0) -> Tensor:
    """Bright disks on dark ground, (1, *shape), and some noise."""
    random = np.random.default_rng(seed)
    axes = np.indices(shape)
    values = 0.02 * random.random(shape)
    for _ in range(4):
        centre = random.uniform(0.3, 0.7, len(shape)) * shape
        distance = sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True)) ** 0.5
        values += random.uniform(0.5, 1.0) / (1 + np.exp(2 * (distance - 0.1 * min(shape))))
    return torch.tensor(values[None], dtype=torch.float32)


SHAPES = {2: (40, 52), 3: (20, 24, 22)}


@pytest.fixture
def image(spatial_dims: int) -> Tensor:
    return cells(*SHAPES[spatial_dims])


def test_images_come_as_grey_in_the_unit_range(image: Tensor) -> None:
    pair = Pair.of(image * 3000 + 200, (image * 200).round().to(torch.uint8))
    before = [pair.fixed.clone(), pair.moving.clone()]
    images, account = comparable(pair)
    assert account == []
    for side in (images.fixed, images.moving):
        assert side.shape == (1, *image.shape) and side.dtype == torch.float32
        assert float(side.min()) == 0 and float(side.max()) == 1
    assert float((images.fixed - images.moving).abs().mean()) < 0.01
    assert torch.equal(pair.fixed, before[0]) and torch.equal(pair.moving, before[1])
    assert images.fixed_grid is pair.fixed_grid and images.fixed_mask is None


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_bright_ground_is_turned_dark(image: Tensor, side: str) -> None:
    bright = {"fixed": image, "moving": image, side: 1 - image}
    images, account = comparable(Pair.of(**bright))
    assert float((images.fixed - images.moving).abs().mean()) < 0.02
    assert account == [f"The {side} image has a bright ground and is inverted for the comparison."]


def test_ground_is_judged_by_the_rim(image: Tensor) -> None:
    assert not is_bright(image[None]) and is_bright(1 - image[None])
    disk = torch.zeros_like(image[None])
    disk[(..., *[slice(3, -3)] * (image.ndim - 1))] = 1  # nearly all is bright, but not the rim
    assert not is_bright(disk) and is_bright(1 - disk)


def test_colour_is_compared_by_its_brightness(image: Tensor) -> None:
    weights = (0.2, 0.7, 0.1)
    colour = torch.cat([image * weight for weight in weights])
    images, account = comparable(Pair.of(colour, image))
    assert images.fixed.shape == images.moving.shape == (1, *image.shape)
    assert float((images.fixed - images.moving).abs().max()) < 0.02
    assert account == ["The fixed image is compared by its brightness."]


def test_masks_are_what_is_above_zero(image: Tensor) -> None:
    weights = torch.rand(image.shape) - 0.5
    pair = Pair(image, image, Pair.of(image, image).fixed_grid, Pair.of(image, image).moving_grid, moving_mask=weights)
    images, _ = comparable(pair)
    assert images.fixed_mask is None and images.moving_mask is not None
    assert torch.equal(images.moving_mask, (weights > 0)[None].float())


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_what_a_mask_hides_changes_nothing(image: Tensor, side: str) -> None:
    mask = torch.zeros_like(image)
    mask[(0, *[slice(5, -5)] * (image.ndim - 1))] = 1
    grid = Pair.of(image, image).fixed_grid
    found = []
    for hidden in (image, torch.full_like(image, 50.0), torch.full_like(image, torch.nan)):
        sides = {"fixed": image, "moving": image, side: torch.where(mask > 0, image, hidden)}
        images, account = comparable(Pair(**sides, fixed_grid=grid, moving_grid=grid, **{f"{side}_mask": mask}))
        assert account == []
        found.append(getattr(images, side))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    inner = mask[None] > 0
    assert float(found[0][inner].min()) < 0.02 and float(found[0][inner].max()) == 1


@pytest.mark.parametrize("side", ["fixed", "moving"])
@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda x: torch.full_like(x, 7.0), "is constant \\(7\\); expected an image with something to align"),
        (lambda x: torch.where(x == x.max(), torch.nan, x), "has values that are not finite; expected numbers"),
        (lambda x: torch.where(x == x.max(), torch.inf, x), "has values that are not finite; expected numbers"),
    ],
)
def test_images_with_nothing_to_align_are_refused(side: str, spoil: Any, match: str) -> None:
    image = cells(30, 34)
    with pytest.raises(ValueError, match=f"^{side} {match}"):
        comparable(Pair.of(**{"fixed": image, "moving": image, side: spoil(image)}))


def test_other_numbers_of_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="2 channels first; expected 1 \\(grey\\) or 3 \\(red"):
        comparable(Pair.of(cells(30, 34), cells(30, 34).repeat(2, 1, 1)))


def test_dark_structure_at_the_rim_of_one_image_does_not_invert_the_other() -> None:
    """Two crops of one section, of which one is bordered by tissue and the other by glass."""
    noise = torch.rand(1, 1, 60, 96, generator=torch.Generator().manual_seed(4))
    blurred = smooth(noise, 3.0)[0]
    section = 0.9 - 0.5 * (blurred > blurred.quantile(0.8)).float()
    section[..., :4] = section[:, :4, :60] = section[:, -4:, :60] = 0.2  # a dark rim that hardly the first crop shows
    first, second = section[..., 30:], section[..., :66]
    assert is_bright(first[None]) and not is_bright(second[None])
    images, _ = comparable(Pair.of(first, second))
    shared = torch.stack([images.fixed[..., :36].flatten(), images.moving[..., 30:].flatten()])
    assert float(torch.corrcoef(shared)[0, 1]) > 0.9
