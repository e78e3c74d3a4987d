import pytest

from monai_cellreg.data.synthetic_settings import NucleusSettings


def test_backward_range_is_refused():
    with pytest.raises(ValueError, match=r"psf_px is \(3.0, 0.5\), expected \(lowest, highest\)"):
        NucleusSettings(psf_px=(3.0, 0.5))


@pytest.mark.parametrize("name", ["diameter", "aspect", "nucleoplasm", "grain", "sharpness", "camera_px"])
def test_zero_is_refused_where_the_simulator_divides_by_it(name):
    with pytest.raises(ValueError, match=f"{name} is .* above 0"):
        NucleusSettings(**{name: (0.0, 0.5)})
