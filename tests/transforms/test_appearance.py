"""Appearance changes intensities and nothing else, within [0, 1], by the seed alone."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from scipy.ndimage import center_of_mass, gaussian_filter
from torch import Tensor

from monai_cellreg.transforms import AppearanceRange, RandomAppearance, normalise

NOTHING = AppearanceRange(**dict.fromkeys(asdict(AppearanceRange()), 0.0))
FLAT, VOLUME = (48, 64), (20, 24, 28)
EVERY_SIZE = pytest.mark.parametrize("size", [FLAT, VOLUME], ids=["2D", "3D"])


def images(size: tuple[int, ...] = FLAT, batch: int = 4) -> Tensor:
    rng = np.random.default_rng(0)
    smooth = np.stack([gaussian_filter(rng.normal(size=size), 2) for _ in range(batch)])[:, None]
    return torch.from_numpy((smooth - smooth.min()) / np.ptp(smooth)).float()


def appearance(settings: AppearanceRange | None = None, seed: int = 0) -> RandomAppearance:
    return RandomAppearance(torch.Generator().manual_seed(seed), settings=settings)


@EVERY_SIZE
def test_shape_range_and_input_are_kept(size: tuple[int, ...]) -> None:
    image = images(size)
    before = image.clone()
    change = appearance()
    for _ in range(5):
        out = change(image)
        assert out.shape == image.shape and out.dtype == torch.float32
        assert out.min() == 0 and out.max() == 1 and out.isfinite().all()
    assert torch.equal(image, before)


def blob(size: tuple[int, ...] = FLAT) -> Tensor:
    """A bright ellipse off the centre, black around it: (4, 1, *size)."""
    index = np.indices(size).reshape(len(size), -1)
    centre, radius = np.array(size) * (0.35, 0.6, 0.5)[: len(size)], np.array(size) * (0.2, 0.15, 0.3)[: len(size)]
    inside = (((index.T - centre) / radius) ** 2).sum(1).reshape(size) < 1
    return torch.from_numpy(inside).float().expand(4, 1, *size)


@EVERY_SIZE
@pytest.mark.parametrize("name", ["gamma", "gradient", "texture"])
def test_drift_keeps_the_outline(size: tuple[int, ...], name: str) -> None:
    out = appearance(replace(NOTHING, **{name: getattr(AppearanceRange(), name)}))(0.7 * blob(size))
    assert torch.equal(out > 0, blob(size) > 0)


@EVERY_SIZE
@pytest.mark.parametrize("name", ["blur", "shot_noise", "read_noise"])
def test_blur_and_noise_keep_the_place_on_average(size: tuple[int, ...], name: str) -> None:
    change = appearance(replace(NOTHING, **{name: getattr(AppearanceRange(), name)}))
    mean = torch.stack([change(blob(size)) for _ in range(20)]).mean((0, 1, 2))
    inside = (mean > 0.5).numpy()
    np.testing.assert_allclose(center_of_mass(inside), center_of_mass(blob(size)[0, 0].numpy()), atol=0.1)
    assert inside.sum() == pytest.approx(blob(size)[0].sum().item(), rel=0.1)


def test_nothing_set_only_rescales() -> None:
    assert torch.equal(appearance(NOTHING)(images()), normalise(images()))


@pytest.mark.parametrize("name", ["gamma", "gradient", "texture", "shot_noise", "read_noise"])
def test_every_setting_changes_each_image_in_its_own_way(name: str) -> None:
    image = images(batch=1).expand(3, -1, -1, -1)
    out = appearance(replace(NOTHING, **{name: getattr(AppearanceRange(), name)}))(image)
    assert (out - normalise(image)).abs().mean((1, 2, 3)).min() > 1e-4
    assert not torch.equal(out[0], out[1]) and not torch.equal(out[1], out[2])


def test_gamma_keeps_the_order_of_intensities() -> None:
    image = images()
    out = appearance(replace(NOTHING, gamma=0.6))(image)
    for before, after in zip(image.flatten(1), out.flatten(1), strict=True):
        assert after[before.argsort()].diff().min() >= 0


def test_background_alone_is_taken_out_again_by_the_rescaling() -> None:
    torch.testing.assert_close(appearance(replace(NOTHING, background=0.5))(images()), normalise(images()))


def roughness(image: Tensor) -> float:
    return float(image.diff(dim=2).abs().mean())


def test_half_of_the_calls_blur() -> None:
    change, plain = appearance(replace(NOTHING, blur=3.0)), normalise(images())
    outs = [change(images()) for _ in range(40)]
    blurred = [out for out in outs if not torch.equal(out, plain)]
    assert 10 <= len(blurred) <= 30
    assert min(roughness(out) for out in blurred) < 0.9 * roughness(plain)


@pytest.mark.parametrize("name", ["shot_noise", "read_noise"])
def test_noise_roughens(name: str) -> None:
    out = appearance(replace(NOTHING, **{name: 0.2}))(images())
    assert roughness(out) > 1.2 * roughness(normalise(images()))


def test_shot_noise_grows_with_the_brightness() -> None:
    image = images()
    noise = (appearance(replace(NOTHING, shot_noise=0.02))(image) - normalise(image)).abs()
    bright, dim = noise[(image > 0.6) & (image < 0.7)], noise[(image > 0.15) & (image < 0.2)]
    assert bright.mean() > 1.5 * dim.mean()  # the root of the brightness: 1.9


def test_seed_alone_decides() -> None:
    torch.manual_seed(1)
    first = appearance(seed=3)(images())
    torch.manual_seed(2)
    assert torch.equal(first, appearance(seed=3)(images()))
    assert not torch.equal(first, appearance(seed=4)(images()))


@EVERY_SIZE
@pytest.mark.parametrize("percentiles", [(0.5, 99.5), (10.0, 70.0)])
def test_normalise_scales_by_percentiles(size: tuple[int, ...], percentiles: tuple[float, float]) -> None:
    image = 7 * images(size) - 2
    out = normalise(image, percentiles)
    for before, after in zip(image.numpy(), out.numpy(), strict=True):
        low, high = np.percentile(before, percentiles)
        np.testing.assert_allclose(after, np.clip((before - low) / (high - low), 0, 1), atol=1e-5)


def test_normalise_of_a_constant_image_is_finite() -> None:
    assert torch.equal(normalise(torch.full((2, 1, 5, 6), 3.0)), torch.zeros(2, 1, 5, 6))


def test_normalise_takes_images_of_any_size() -> None:
    """Beyond 2**24 values, where torch's quantiles end."""
    image = torch.linspace(0, 1, 4097 * 4098).reshape(1, 1, 4097, 4098)
    expected = ((image - 0.005) / 0.99).clamp(0, 1)
    assert float((normalise(image) - expected).abs().max()) < 1e-4


def test_impossible_changes_are_refused() -> None:
    with pytest.raises(ValueError, match="gamma is nan, expected finite numbers of at least 0"):
        AppearanceRange(gamma=float("nan"))
    with pytest.raises(ValueError, match="blur is -1, expected finite numbers of at least 0"):
        AppearanceRange(blur=-1)
