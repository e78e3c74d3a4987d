"""Pairs of any size on the fixed image's grid; the map that comes out is right in their own world coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor

from monai_cellreg.geometry import Pair, SamplingGrid
from monai_cellreg.inferers import OverlaidInferer
from monai_cellreg.inferers.overlaid import continued, seen_on
from monai_cellreg.networks import DIRNet


def smooth(shape: Sequence[int], seed: int = 0) -> Tensor:
    noise = np.random.default_rng(seed).normal(size=shape)
    return torch.from_numpy(gaussian_filter(noise, 3).astype(np.float32))[None]


def drawn(size: Sequence[int], *, variant: str = "C1", levels: Sequence[int] = (3, 2), scale: float = 0.4) -> DIRNet:
    network = DIRNet(size, variant=variant, levels=levels, channels=4)
    generator = torch.Generator().manual_seed(0)
    for values in network.parameters():
        values.data = scale * torch.randn(values.shape, generator=generator)
    return network.eval()


def ramp(shape: Sequence[int], affine: np.ndarray) -> MetaTensor:
    """An image whose grey value is linear in world coordinates, so that any linear reading of it is known."""
    grid = SamplingGrid(tuple(shape), affine)
    values = grid.world() @ torch.tensor([1.0, 2.5], dtype=torch.float64)
    return MetaTensor(values[None].float(), affine=affine, meta={"space": "index"})


FIXED = np.array([[0.5, 0, 10], [0, 2.0, -3], [0, 0, 1]])


@pytest.mark.parametrize("shape", [(40, 48), (37, 50), (33, 41)])
def test_map_is_that_of_the_field_of_the_network_where_the_pair_was_seen(shape: tuple[int, int]) -> None:
    """Padded by hand: the field that the network gives for the padded images, cut back to the fixed image."""
    pair = Pair.of(smooth(shape), smooth(shape, 1))
    network = drawn((40, 48))
    found = OverlaidInferer().batch([pair], network)[0]
    size = tuple(-(-n // 8) * 8 for n in shape)
    assert found.fixed.shape[2:] == found.fixed_grid.shape == size
    before = [(m - n) // 2 for n, m in zip(shape, size, strict=True)]
    padding = [(0, 0), *((b, m - n - b) for b, n, m in zip(before, shape, size, strict=True))]
    for seen, image in ((found.fixed, pair.fixed), (found.moving, pair.moving)):
        low, high = np.percentile(image.numpy(), (0.5, 99.5))
        scaled = np.clip((image.numpy() - low) / (high - low), 0, 1)
        np.testing.assert_allclose(seen[0].numpy(), np.pad(scaled, padding, mode="edge"), rtol=0, atol=1e-5)
    with torch.no_grad():
        field = network.at(size)(found.fixed, found.moving)["fixed_to_moving"][0].double().numpy()
    inner = tuple(slice(b, b + n) for b, n in zip(before, shape, strict=True))
    expected = np.indices(shape) + field[(slice(None), *inner)]
    points = np.indices(shape).reshape(2, -1).T.astype(float)
    assert np.abs(field).max() > 1
    error = np.abs(found.transform.points(points) - expected.reshape(2, -1).T)
    border = 0.1  # a field that is composed is read linearly, the map of the same splines is not
    assert np.median(error) < 0.02 and error.max() < border


def test_moving_image_of_another_grid_is_seen_where_its_coordinates_say() -> None:
    moving = np.array([[0, -1.5, 40], [0.7, 0, -20], [0, 0, 1]])  # turned by 90 degrees, coarser
    images = ramp((24, 32), FIXED), ramp((90, 60), moving)
    pair = Pair.of(*images)
    grid = continued(pair.fixed_grid, 8)
    assert grid.matches(pair.fixed_grid)  # divisible already
    world = grid.world().reshape(-1, 2)
    index = pair.moving_grid.world_to_index(world).numpy()
    inside = ((index >= 0) & (index <= np.array([89, 59]))).all(1)
    assert 0.3 < inside.mean() < 1
    low, high = np.percentile(images[1].numpy(), (0.5, 99.5))
    expected = np.clip((world.numpy() @ [1.0, 2.5] - low) / (high - low), 0, 1)
    seen = seen_on(pair, "moving", grid).reshape(-1).numpy()
    np.testing.assert_allclose(seen[inside], expected[inside], rtol=0, atol=2e-3)


def test_identity_of_a_new_network_is_the_identity_of_the_world() -> None:
    pair = Pair.of(ramp((20, 30), FIXED), ramp((25, 31), np.diag([0.4, 1.7, 1.0])))
    points = np.array([[10.0, -3.0], [14.25, 20.5], [19.5, 55.0]])
    for network in (DIRNet((16, 16), levels=[3]), DIRNet((16, 32), variant="C2", levels=[3])):
        transform = OverlaidInferer()(pair, network)
        np.testing.assert_allclose(transform.points(points), points, rtol=0, atol=1e-9)


def test_pixel_size_is_that_of_the_training_where_the_unit_is_known() -> None:
    pair = Pair.of(smooth((40, 60)), smooth((40, 60), 1))
    grids = {"fixed_grid": SamplingGrid((40, 60), np.diag([3.0, 1.5, 1.0]), unit="mm")}
    in_mm = replace(pair, **grids, moving_grid=grids["fixed_grid"])
    network = drawn((16, 16))
    for given, expected in ((in_mm, (80, 64)), (pair, (40, 64))):  # 120 x 90 mm; 60 px go up to 64
        found = OverlaidInferer(pixel_size=1.5).batch([given], network)[0]
        assert found.fixed_grid.shape == expected
    spacing = OverlaidInferer(pixel_size=1.5).batch([in_mm], network)[0].fixed_grid.spacing
    np.testing.assert_allclose(spacing, 1.5)
    fine = seen_on(in_mm, "fixed", in_mm.fixed_grid.resized((20, 30)))
    low, high = np.percentile(pair.fixed.numpy(), (0.5, 99.5))
    scaled = gaussian_filter(np.clip((pair.fixed[0].numpy() - low) / (high - low), 0, 1), 0.5, mode="constant")
    at = np.stack(np.meshgrid(np.arange(20) * 2 + 0.5, np.arange(30) * 2 + 0.5, indexing="ij"))
    expected = map_coordinates(scaled, at, order=1)
    np.testing.assert_allclose(fine[0, 0, 2:-2, 2:-2].numpy(), expected[2:-2, 2:-2], rtol=0, atol=1e-2)


def test_several_pairs_at_once_are_those_one_by_one() -> None:
    pairs = [Pair.of(smooth(shape, n), smooth(shape, n + 9)) for n, shape in enumerate([(40, 48), (24, 30), (37, 44)])]
    network = drawn((16, 16))
    inferer = OverlaidInferer()
    points = np.array([[3.0, 4.0], [20.5, 21.0]])
    together = inferer.batch(pairs, network.train())
    assert inferer.batch([], network) == []
    for pair, found in zip(pairs, together, strict=True):
        np.testing.assert_allclose(found.transform.points(points), inferer(pair, network).points(points), atol=1e-4)
    apart = [found.transform.points(points) for found in together]
    assert np.abs(apart[0] - apart[2]).max() > 0.005


def test_another_network_is_not_taken_for_the_one_before() -> None:
    pair, inferer = Pair.of(smooth((24, 32)), smooth((24, 32), 1)), OverlaidInferer()
    points = np.array([[3.0, 4.0]])
    assert np.abs(inferer(pair, drawn((16, 16))).points(points) - points).max() > 0.05
    np.testing.assert_allclose(inferer(pair, DIRNet((16, 16), levels=[3])).points(points), points, atol=1e-9)


def test_volumes_and_colour() -> None:
    volume = Pair.of(smooth((18, 20, 17)), smooth((18, 20, 17), 1))
    found = OverlaidInferer().batch([volume], drawn((16, 16, 16)))[0]
    assert found.fixed_grid.shape == (24, 24, 24) and found.transform.spatial_dims == 3
    grey = Pair.of(smooth((24, 32)), smooth((24, 32), 1))
    colour = Pair.of(grey.fixed.repeat(3, 1, 1), grey.moving.repeat(3, 1, 1))
    points = np.array([[3.0, 4.0], [12.0, 30.0]])
    maps = [OverlaidInferer()(pair, drawn((16, 16))).points(points) for pair in (grey, colour)]
    np.testing.assert_allclose(maps[0], maps[1], rtol=0, atol=1e-4)


def test_images_that_cannot_be_registered() -> None:
    network = DIRNet((16, 16), levels=[3])
    flat = Pair.of(smooth((16, 16)), torch.zeros(1, 16, 16))
    with pytest.raises(ValueError, match="moving is constant"):
        OverlaidInferer()(flat, network)
    with pytest.raises(ValueError, match="take a slice of a volume"):
        OverlaidInferer()(Pair.of(smooth((8, 8, 8)), smooth((8, 8, 8))), network)
    with pytest.raises(ValueError, match="pixel_size is 0"):
        OverlaidInferer(pixel_size=0)
