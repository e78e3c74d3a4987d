import numpy as np
import pytest

from monai_cellreg.data.synthetic_outline import draw_outline
from monai_cellreg.data.synthetic_settings import NucleusSettings, SpotSettings
from monai_cellreg.data.synthetic_spots import Spots, draw_spots

PIXELS = np.indices((70, 90), dtype=np.float32)


def spots(frames=6, size=160, seed=0, radius=60.0, **settings):
    nucleus = draw_outline(np.random.default_rng(5), NucleusSettings(), centre=(80.0, 75.0), radius=radius)
    drawn = draw_spots(np.random.default_rng(seed), SpotSettings(**settings), nucleus=nucleus, frames=frames, size=size)
    return nucleus, drawn


def test_light_is_that_of_gaussians():
    two = Spots(np.array([[[20.3, 61.8], [48.0, 30.5]]]), np.array([1.5, 3.0]), np.array([2.0, 0.5]))
    light = two.brightness(PIXELS, 0)
    assert light.sum() == pytest.approx(2 * np.pi * (2.0 * 1.5**2 + 0.5 * 3.0**2), rel=1e-5)
    assert light[20, 62] == pytest.approx(2.0 * np.exp(-(0.3**2 + 0.2**2) / (2 * 1.5**2)), rel=1e-5)
    one = Spots(two.reference[:, 1:], two.width_px[1:], two.height[1:]).brightness(PIXELS, 0)
    middle = (PIXELS * one).sum(axis=(1, 2)) / one.sum()
    np.testing.assert_allclose(middle, [48.0, 30.5], rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [160, 80])
def test_steps_are_brownian(size):
    """Mean square displacement grows by twice the variance of a step each frame; the nucleus is too large to matter."""
    _, drawn = spots(count=400, step_px=0.4, size=size, radius=1e4)
    moved = ((drawn.reference - drawn.reference[0]) ** 2).sum(axis=-1).mean(axis=1)
    np.testing.assert_allclose(moved[1:], 2 * (0.4 * size / 160) ** 2 * np.arange(1, 6), rtol=0.15)


def test_spots_never_leave_and_fill_the_nucleus():
    nucleus, drawn = spots(count=300, step_px=8.0)
    level = nucleus.level(drawn.reference.reshape(-1, 2).T.astype(np.float32))
    assert level.min() > 0.15
    assert np.diff(drawn.reference, axis=0).any()
    spread = drawn.reference[0].std(axis=0)
    assert spread.min() > 0.25 * nucleus.radius * nucleus.aspect


def test_sizes_grow_with_the_frame():
    _, large = spots(count=9, width_px=(1.0, 2.0), size=160)
    _, small = spots(count=9, width_px=(1.0, 2.0), size=80)
    np.testing.assert_allclose(large.width_px, 2 * small.width_px)
    assert large.width_px.min() >= 1 and large.width_px.max() <= 2
    np.testing.assert_array_equal(large.height, small.height)


def test_no_spots_give_no_light():
    _, none = spots(count=0)
    assert none.reference.shape == (6, 0, 2)
    assert not none.brightness(PIXELS, 5).any()
