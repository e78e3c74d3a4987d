"""The descriptor against loops over pairs of patches; the loss against invariances."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
import torch

from monai_cellreg.losses import MINDSSCLoss
from monai_cellreg.losses.mind import mind_ssc


def looped(image: np.ndarray, radius: int, dilation: int, visible: np.ndarray | None = None) -> np.ndarray:
    """Descriptors (pairs, *shape), sorted, by loops over voxels, pairs of neighbours and voxels of patches."""
    dims, shape = image.ndim, image.shape
    visible = np.ones(shape, bool) if visible is None else visible

    def seen(place: np.ndarray) -> bool:
        return all(0 <= p < n for p, n in zip(place, shape, strict=True)) and bool(visible[tuple(place)])

    ends = [sign * dilation * row for row in np.eye(dims, dtype=int) for sign in (1, -1)]
    pairs = [(a, b) for a, b in combinations(ends, 2) if np.linalg.norm(a - b) < 2 * dilation]
    assert len(pairs) == {2: 4, 3: 12}[dims]
    patch = list(product(range(-radius, radius + 1), repeat=dims))
    distances = np.full((len(pairs), *shape), np.nan)
    for x in np.ndindex(*shape):
        for k, (a, b) in enumerate(pairs):
            places = [(np.add(x, a) + r, np.add(x, b) + r) for r in patch]
            squares = [(image[tuple(p)] - image[tuple(q)]) ** 2 for p, q in places if seen(p) and seen(q)]
            if squares:
                distances[(k, *x)] = np.mean(squares)
    variance = np.nan_to_num(np.nanmean(distances, axis=0))
    distances = np.where(np.isnan(distances), variance, distances)
    variance = np.maximum(variance, 1e-3 * variance[visible].mean())
    return np.sort(np.exp(-(distances - distances.min(0)) / variance), 0)


@pytest.mark.parametrize(
    ("shape", "radius", "dilation"),
    [((6, 7), 1, 2), ((5, 6), 2, 1), ((7, 5), 0, 1), ((4, 3, 5), 1, 1), ((4, 5, 3), 0, 2)],
)
@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_loops_over_patches(shape: tuple[int, ...], radius: int, dilation: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, *shape))
    images[0][:2] *= 1e-3  # smoother than a thousandth
    visible = rng.random(shape) < 0.7
    for weight in (None, visible):
        expected = [looped(image, radius, dilation, weight) for image in images]
        given = None if weight is None else torch.tensor(weight).double()[None, None]
        hidden = torch.tensor(images)[None].where(torch.tensor(True if weight is None else weight), 0)
        found = mind_ssc(hidden, radius=radius, dilation=dilation, weight=given)
        assert found.shape == (1, 2, {2: 4, 3: 12}[len(shape)], *shape)
        for ours, theirs in zip(found[0].numpy(), expected, strict=True):
            inside = np.ones(shape, bool) if weight is None else weight
            assert np.abs(np.sort(ours, 0) - theirs)[:, inside].max() < 1e-12


def test_loss_is_the_mean_squared_difference_of_descriptors(spatial_dims: int) -> None:
    generator = torch.Generator().manual_seed(0)
    pred, target = torch.rand(2, 3, 2, *(6, 7, 5)[:spatial_dims], dtype=torch.float64, generator=generator)
    each = MINDSSCLoss(1, 1, reduction="none")(pred, target)
    descriptors = [mind_ssc(image, radius=1, dilation=1) for image in (pred, target)]
    torch.testing.assert_close(each, ((descriptors[0] - descriptors[1]) ** 2).mean(2))
    default = [mind_ssc(image, radius=2, dilation=2) for image in (pred, target)]
    torch.testing.assert_close(MINDSSCLoss()(pred, target), ((default[0] - default[1]) ** 2).mean())


@pytest.mark.parametrize(("factor", "shift"), [(3.0, 0.0), (-1e4, 700.0), (1e-4, -5.0)])
def test_scale_sign_and_offset_do_not_matter(spatial_dims: int, factor: float, shift: float) -> None:
    generator = torch.Generator().manual_seed(0)
    pred, target = torch.rand(2, 1, 1, *(9, 10, 8)[:spatial_dims], dtype=torch.float64, generator=generator)
    loss = MINDSSCLoss()
    assert loss(factor * target + shift, target) < 1e-15
    assert loss(pred, target) > 1e-3
    torch.testing.assert_close(loss(factor * pred + shift, target), loss(pred, target), rtol=1e-7, atol=0)


def test_flat_regions_do_not_amplify_noise() -> None:
    image = torch.zeros(1, 1, 30, 30, dtype=torch.float64)
    image[..., 15:] = torch.rand(15, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    noisy = image + 1e-5 * torch.rand(image.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert MINDSSCLoss(1, 1, reduction="none")(noisy, image)[..., :10].max() < 1e-6


def test_each_image_has_its_own_least_variance_by_what_is_seen_of_it() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 2, 12, 14, dtype=torch.float64, generator=generator)
    image[..., :7] *= 1e-3  # nearly flat: the least variance counts there
    image[1, 0] *= 50
    found = mind_ssc(image, radius=1, dilation=1)
    for b, c in np.ndindex(2, 2):
        alone = mind_ssc(image[b : b + 1, c : c + 1], radius=1, dilation=1)
        torch.testing.assert_close(found[b, c], alone[0, 0], rtol=1e-9, atol=0)
    weight = torch.zeros(1, 1, 12, 14, dtype=torch.float64)
    weight[..., 2:9, :9] = 0.3
    boxed = mind_ssc(image.where(weight > 0, 0), radius=1, dilation=1, weight=weight)
    cropped = mind_ssc(image[..., 2:9, :9], radius=1, dilation=1)
    torch.testing.assert_close(boxed[..., 2:9, :9], cropped, rtol=1e-9, atol=0)
    assert (cropped[..., :5] > 0.9).all()  # not the values that noise of unit variance would have


def test_lowest_in_place_for_inverted_contrast(spatial_dims: int) -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 1, *(6,) * spatial_dims, generator=generator)
    image = torch.nn.functional.interpolate(coarse, scale_factor=4.0)
    loss = MINDSSCLoss()
    in_place = loss((1 - image) ** 2, image)
    for axis in range(2, 2 + spatial_dims):
        assert loss((1 - image.roll(2, axis)) ** 2, image) > 3 * in_place


def test_bad_settings_and_lines_are_refused() -> None:
    for name, value, least in (("radius", -1, 0), ("dilation", 0, 1), ("radius", 1.5, 0)):
        with pytest.raises(
            ValueError, match=f"{name} is {value}, expected a whole number of voxels of at least {least}"
        ):
            MINDSSCLoss(**{name: value})
    with pytest.raises(ValueError, match="the image has 1 spatial axes, expected 2 or 3"):
        MINDSSCLoss()(torch.rand(1, 1, 9), torch.rand(1, 1, 9))
