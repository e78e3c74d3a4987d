import numpy as np
import pytest
from PIL import Image

from monai_cellreg.benchmarks import gallery
from monai_cellreg.geometry import SamplingGrid


@pytest.mark.parametrize("name", gallery.families())
def test_maps_deform_without_folding(name):
    grid = SamplingGrid((gallery.SIZE, gallery.SIZE))
    transform = gallery.families()[name]
    assert float(transform.jacobian_determinant(grid).min()) > 0.1
    assert 3 < float(transform.displacement(grid).norm(dim=1).max()) < 0.3 * gallery.SIZE


def test_picture_has_a_grid_a_family_and_is_small(tmp_path):
    gallery.save_gallery(tmp_path / "maps.png")
    picture = np.asarray(Image.open(tmp_path / "maps.png").convert("L"))
    panels = np.array_split(picture, len(gallery.families()), axis=1)
    assert all((panel < 200).mean() > 0.03 for panel in panels)
    assert (picture[:, [0, -1]] == 255).all() and (tmp_path / "maps.png").stat().st_size < 150_000
