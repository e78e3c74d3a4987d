import pytest

from monai_cellreg.data.synthetic_settings import NucleusSettings, SpotSettings


def test_backward_range_is_refused():
    with pytest.raises(ValueError, match=r"psf_px is \(3.0, 0.5\), expected \(lowest, highest\)"):
        NucleusSettings(psf_px=(3.0, 0.5))


@pytest.mark.parametrize("name", ["diameter", "aspect", "nucleoplasm", "grain", "sharpness", "camera_px"])
def test_zero_is_refused_where_the_simulator_divides_by_it(name):
    with pytest.raises(ValueError, match=f"{name} is .* above 0"):
        NucleusSettings(**{name: (0.0, 0.5)})


def test_bad_spots_are_refused():
    with pytest.raises(ValueError, match=r"brightness is \(2, 1\), expected \(lowest, highest\)"):
        SpotSettings(brightness=(2, 1))
    with pytest.raises(ValueError, match="count is -1, expected finite numbers of at least 0"):
        SpotSettings(count=-1)
    with pytest.raises(ValueError, match="step_px is -0.5, expected finite numbers of at least 0"):
        SpotSettings(step_px=-0.5)
    with pytest.raises(ValueError, match="width_px is .* above 0"):
        SpotSettings(width_px=(0, 1))
