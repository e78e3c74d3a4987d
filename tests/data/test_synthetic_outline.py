import numpy as np
import pytest
from skimage.measure import regionprops

from monai_cellreg.data.synthetic_outline import draw_outline
from monai_cellreg.data.synthetic_settings import NucleusSettings

POINTS = np.indices((150, 190), dtype=np.float32)


def inside(centre, radius, *, seed=0, **settings):
    rng = np.random.default_rng(seed)
    return draw_outline(rng, NucleusSettings(**settings), centre=centre, radius=radius).level(POINTS) > 0


def test_round_outline_is_the_disc():
    mask = inside((70.0, 110.0), 33.0, aspect=(1, 1), lobes=(0, 0), bend=(0, 0))
    assert np.array_equal(mask, np.hypot(POINTS[0] - 70, POINTS[1] - 110) < 33)


def test_ellipse_has_the_wanted_axes():
    (region,) = regionprops(inside((70.0, 110.0), 40.0, aspect=(0.5, 0.5), lobes=(0, 0), bend=(0, 0)).astype(int))
    assert region.axis_major_length == pytest.approx(80, abs=0.7)
    assert region.axis_minor_length == pytest.approx(40, abs=0.7)
    assert region.centroid == pytest.approx((70, 110), abs=0.3)


@pytest.mark.parametrize("seed", range(8))
def test_farthest_point_lies_at_the_radius_however_irregular(seed):
    mask = inside((70.0, 100.0), 45.0, seed=seed, lobes=(0.15, 0.15), bend=(2, 2))
    distance = np.hypot(POINTS[0] - 70, POINTS[1] - 100)[mask].max()
    assert 43.8 < distance < 45.01


def test_bending_makes_the_outline_concave():
    def solidity(seed, bend):
        ellipse = {"aspect": (0.4, 0.4), "lobes": (0, 0)}
        (region,) = regionprops(inside((75.0, 95.0), 60.0, seed=seed, bend=bend, **ellipse).astype(int))
        return region.solidity

    assert min(solidity(seed, (0, 0)) for seed in range(5)) > 0.97
    assert min(solidity(seed, (3, 3)) for seed in range(5)) < 0.94
