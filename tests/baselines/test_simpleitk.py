"""Settings of SimpleITK's methods act, and its failures are explained."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.ndimage import gaussian_filter

from monai_cellreg.baselines import SimpleITKAffine, SimpleITKBSpline, SimpleITKDemons
from monai_cellreg.baselines.simpleitk import _failures_told
from monai_cellreg.geometry import AffineTransform, BSplineTransform, CompositeTransform, DenseTransform, Pair


@pytest.fixture(scope="module")
def pair() -> Pair:
    """Smooth noise and its square root, inverted and shifted: intensities correspond, but are not the same."""
    noise = gaussian_filter(np.random.default_rng(0).uniform(size=(70, 90)), 3)
    noise = (noise - noise.min()) / (noise.max() - noise.min())
    fixed, moving = noise[8:58, 8:78], np.roll(noise, (2, -3), axis=(0, 1))[8:58, 8:78]
    return Pair.of(*(torch.tensor(image)[None].float() for image in (fixed, moving)))


def inverted(pair: Pair) -> Pair:
    return Pair.of(pair.fixed, 5 - 3 * pair.moving.sqrt())


MIDDLE = np.array([[25.0, 35.0], [20.0, 40.0], [30.0, 28.0]])


@pytest.mark.parametrize("make", [SimpleITKAffine, SimpleITKBSpline])
def test_intensities_need_not_be_the_same(pair: Pair, make: type[SimpleITKAffine]) -> None:
    found = make(iterations=60, threads=1).register(inverted(pair))
    np.testing.assert_allclose(found.points(MIDDLE), MIDDLE + [2, -3], rtol=0, atol=0.3)


def test_families(pair: Pair) -> None:
    assert isinstance(SimpleITKAffine(iterations=2).register(pair), AffineTransform)
    families = {SimpleITKBSpline: BSplineTransform, SimpleITKDemons: DenseTransform}
    for make, family in families.items():
        found = make(iterations=2).register(pair)
        assert isinstance(found, CompositeTransform)
        assert [type(part) for part in found.transforms] == [family, AffineTransform]


def test_spline_is_as_fine_as_the_image_is_long(pair: Pair) -> None:
    found = SimpleITKBSpline(iterations=2).register(pair)
    assert isinstance(found, CompositeTransform) and isinstance(found.transforms[0], BSplineTransform)
    spacing = found.transforms[0].lattice.spacing
    np.testing.assert_allclose(spacing, np.sqrt([50, 70]), rtol=0.25)


def roughness(pair: Pair, smoothing_vox: float) -> float:
    found = SimpleITKDemons(iterations=20, smoothing_vox=smoothing_vox, threads=1).register(pair)
    return float((found.jacobian_determinant(pair.fixed_grid) - 1).square().mean().sqrt())


def test_more_smoothing_makes_demons_smoother(pair: Pair) -> None:
    torn = Pair.of(pair.fixed, pair.moving.flip(1))  # so that there is always more to deform
    assert roughness(torn, 4.0) < 0.85 * roughness(torn, 1.0)


def test_more_iterations_come_closer(pair: Pair) -> None:
    few, many = (SimpleITKAffine(iterations=n, threads=1).register(pair).points(MIDDLE) for n in (1, 100))
    error = [np.abs(points - MIDDLE - [2, -3]).max() for points in (few, many)]
    assert error[1] < 0.1 < error[0]


def test_failure_tells_simpleitk_s_reason() -> None:
    near, far = sitk.GaussianSource(sitk.sitkFloat32, [20, 20]), sitk.GaussianSource(sitk.sitkFloat32, [20, 20])
    far.SetOrigin((500, 0))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation()
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 5)
    method.SetInitialTransform(sitk.TranslationTransform(2))
    told = "^SimpleITK failed: [^:]*samples[^:]* Expected images that overlap"
    with pytest.raises(RuntimeError, match=told), _failures_told():
        method.Execute(near, far)


def test_settings_without_use_are_refused() -> None:
    for make in (SimpleITKAffine, SimpleITKBSpline, SimpleITKDemons):
        with pytest.raises(ValueError, match="^iterations is 0, expected"):
            make(iterations=0)
    with pytest.raises(ValueError, match="^smoothing_vox is -1, expected"):
        SimpleITKDemons(smoothing_vox=-1)
