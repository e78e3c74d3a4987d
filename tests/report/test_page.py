import re
from html.parser import HTMLParser

import numpy as np
import pytest

from monai_cellreg import __version__
from monai_cellreg.report import PairPage, Verdict, write_pair_page
from monai_cellreg.report.page import _layers


class Reader(HTMLParser):
    """What a page shows and what it would fetch."""

    def __init__(self, text):
        super().__init__()
        self.links, self.text, self.styles = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href", "poster", "srcset", "action")]
        self.styles += [value for name, value in attributes if name == "style"]

    def handle_data(self, data):
        self.text.append(data)


def page(spatial=(20, 30), channels=1, **changes):
    rng = np.random.default_rng(0)
    images = {
        name: rng.uniform(0, 1, (channels, *spatial)).astype(np.float32) for name in ("fixed", "moving", "warped")
    }
    return PairPage(**{**images, "displacement_vox": rng.normal(0, 0.1, (len(spatial), *spatial)), **changes})


@pytest.mark.parametrize("spatial", [(20, 30), (5, 6, 7)])
@pytest.mark.parametrize("channels", [1, 3])
def test_page_fetches_nothing(tmp_path, spatial, channels):
    write_pair_page(tmp_path / "page.html", page(spatial, channels))
    reader = Reader((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert len(reader.links) >= 7 * (len(spatial) - 1 if len(spatial) == 2 else 3)
    assert all(link.startswith("data:") for link in reader.links)
    text = "".join(reader.text)
    assert not re.search(r"url\(|@import|https?://", text) and not any("url(" in style for style in reader.styles)


def test_page_says_what_it_was_given(tmp_path):
    given = page(
        title="a<b & c",
        verdict=Verdict("check", ("Half of it is missing.",)),
        metrics={"ncc_before": 0.25, "ncc_after": 0.75, "max_displacement": 3.0},
        unit="µm",
        parameters={"Fixed <file>": "day0.tif"},
        account=("A rotation of 12° was found.",),
    )
    write_pair_page(tmp_path / "page.html", given)
    text = "".join(Reader((tmp_path / "page.html").read_text(encoding="utf-8")).text)
    for words in (
        "a<b & c",
        "Half of it is missing.",
        "Look closely",
        "+0.500",
        "3 µm",
        "Fixed <file>",
        "day0.tif",
        "A rotation of 12° was found.",
        __version__,
        "Change of area",
    ):
        assert words in text, words


def test_folds_are_counted(tmp_path):
    field = np.zeros((2, 20, 30))
    field[0] = -2 * np.arange(20)[:, None]  # a mirror
    write_pair_page(tmp_path / "page.html", page(displacement_vox=field))
    assert "folded: 600 of 600 pixels" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_before_and_after_have_one_brightness():
    rng = np.random.default_rng(1)
    fixed, moving = rng.uniform(0, 1, (2, 1, 30, 40))
    layers = _layers(fixed, moving, 0.5 * moving)
    assert abs(int(layers["after"].max()) - 128) <= 2 and layers["before"].max() == 255
    np.testing.assert_array_equal(layers["overlay_after"][..., 1], layers["after"])
    np.testing.assert_array_equal(layers["overlay_before"][..., 0], layers["fixed"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"moving": np.zeros((1, 20, 31))}, "moving has shape 1x20x31"),
        ({"warped": np.zeros((2, 20, 30))}, "expected 1 or 3 channels"),
        ({"displacement_vox": np.zeros((3, 20, 30))}, "expected 2 channels"),
        ({"fixed": np.zeros((20, 30))}, r"fixed has shape 20x30, expected \(C, H, W\)"),
        ({"spacing": (1.0,)}, "expected 2 numbers"),
    ],
)
def test_what_does_not_fit_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        page(**changes)


def test_page_is_complete_or_absent(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"expected a name that ends in \.html"):
        write_pair_page(tmp_path / "page.pdf", page())
    monkeypatch.setattr("monai_cellreg.report.rendering.versions", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_pair_page(tmp_path / "page.html", page())
    assert list(tmp_path.iterdir()) == []


def test_large_images_make_small_pages(tmp_path):
    rng = np.random.default_rng(2)
    coarse = rng.uniform(0, 255, (3, 60, 80)).astype(np.uint8)
    image = coarse.repeat(30, 1).repeat(30, 2)
    write_pair_page(tmp_path / "page.html", PairPage(image, image, image, np.zeros((2, 1800, 2400), np.float32)))
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert len(text) < 5e6 and "shown at 1200 × 900 of 2400 × 1800 pixels" in text
