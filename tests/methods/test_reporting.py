import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from monai_cellreg.geometry import AffineTransform, Pair, RegisteredTransform, SamplingGrid, resample
from monai_cellreg.methods.registration import Registration, measure
from monai_cellreg.methods.reporting import registration_page


def registered(pair, transform):
    chain = RegisteredTransform(transform, pair.fixed_grid, pair.moving_grid)
    warped = resample(pair.moving[None], chain, pair.fixed_grid, pair.moving_grid)[0]
    metrics = {"seconds": 0.5, **measure(pair, chain, warped)}
    return Registration(chain, warped.numpy(), metrics, pair, "made", ("One step.",))


@pytest.fixture
def shifted():
    """A square at rows 8 to 16 of the fixed image, two rows and three columns further in a larger moving one."""
    fixed, moving = torch.zeros(1, 40, 50), torch.zeros(1, 44, 60)
    fixed[:, 8:16, 10:20], moving[:, 10:18, 13:23] = 100, 100
    pair = Pair(fixed, moving, SamplingGrid((40, 50)), SamplingGrid((44, 60)))
    return registered(pair, AffineTransform.translation([2.0, 3.0]))


def picture(text, name):
    uri = re.search(rf'src="data:image/\w+;base64,([^"]*)" id="{name}-all"', text)[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))))


def test_before_is_unmoved_and_after_is_warped(shifted, tmp_path):
    shifted.report(tmp_path / "page.html", title="Two <squares>", parameters={"Fixed file": "a.tif"})
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    for name, rows, columns in (
        ("fixed", (8, 16), (10, 20)),
        ("before", (10, 18), (13, 23)),
        ("after", (8, 16), (10, 20)),
    ):
        bright = np.argwhere(picture(text, name) > 128)
        assert bright.min(0).tolist() == [rows[0], columns[0]] and bright.max(0).tolist() == [
            rows[1] - 1,
            columns[1] - 1,
        ]
    for words in (
        "Two &lt;squares&gt;",
        "Looks good",
        "One step.",
        "a.tif",
        "44 × 60 pixels, grey",
        "made",
        "folded: 0 of",
    ):
        assert words in text, words


def test_a_mirrored_grid_is_not_a_fold(tmp_path):
    """Files store an axis either way; the map of world points is the identity."""
    mirror = np.array([[-1.0, 0, 39], [0, 1, 0], [0, 0, 1]])
    image = torch.rand(1, 40, 50, generator=torch.Generator().manual_seed(0))
    pair = Pair(image, image.flip(1), SamplingGrid((40, 50)), SamplingGrid((40, 50), mirror))
    result = registered(pair, AffineTransform.translation([0.0, 0.0]))
    assert result.metrics["folding_fraction"] == 0 and result.metrics["nmi_before"] == pytest.approx(2)
    registration_page(result, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "folded: 0 of 2,000 pixels" in text
    np.testing.assert_array_equal(picture(text, "before"), picture(text, "fixed"))


def test_colour_stays_colour(tmp_path):
    image = torch.randint(0, 255, (3, 30, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    grid = SamplingGrid((30, 40), np.diag([0.5, 0.5, 1.0]), unit="µm")
    registered(Pair(image[:1], image, grid, grid), AffineTransform.translation([0.0, 0.0])).report(tmp_path / "p.html")
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    np.testing.assert_array_equal(picture(text, "after"), image.movedim(0, -1).numpy())
    assert picture(text, "fixed").shape == (30, 40) and "30 × 40 pixels of 0.5 × 0.5 µm, colour" in text


def test_anatomy_is_upright(tmp_path):
    grid = SamplingGrid((6, 7, 8), np.diag([1.0, -1.0, 2.0, 1.0]), "RAS")
    image = torch.rand(1, 6, 7, 8, generator=torch.Generator().manual_seed(2))
    registered(Pair(image, image, grid, grid), AffineTransform.translation([0.0, 0, 0])).report(tmp_path / "p.html")
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert text.index(">axial<") < text.index(">coronal<") < text.index(">sagittal<")
    assert 'aria-label="Slice axial"' in text and "Superior and anterior are up" in text
