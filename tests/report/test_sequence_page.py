import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from monai_cellreg.report import SequencePage, write_sequence_page
from monai_cellreg.report.sequence_page import _planes


def frames(count=3, shape=(1, 12, 16), seed=0):
    return list(np.random.default_rng(seed).uniform(0, 1, (count, *shape)).astype(np.float32))


@pytest.mark.parametrize("shape", [(1, 12, 16), (3, 12, 16), (1, 5, 12, 16)])
def test_page_of_a_movie(tmp_path, shape):
    film, movie = frames(shape=shape), tmp_path / "movie.mp4"
    movie.write_bytes(b"not really a movie")
    rows = [{"ncc_before": 0.5, "ncc_after": 0.75 + 0.01 * k, "folding_fraction": 0.001 * k} for k in range(3)]
    write_sequence_page(
        tmp_path / "page.html",
        SequencePage(film, film, film[0], rows=rows, flags={2: "The frame is <empty>."}, movie=movie),
    )
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "data:video/mp4;base64,bm90IHJlYWxseSBhIG1vdmll" in text
    assert "The frame is &lt;empty&gt;." in text and "0.770" in text and "0.2 %" in text
    assert len(re.findall("<svg", text)) == 2 and "Folded share of the map in %" in text
    assert ("middle slice" in text) == (len(shape) == 4)


class Lazy(list):
    """Frames that count how often they are read."""

    reads = 0

    def __getitem__(self, index):
        self.reads += 1
        return super().__getitem__(index)


def picture(mosaic, number=0):
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(mosaic.uri.split(",", 1)[1]))))
    row, column = divmod(number, mosaic.columns)
    return sheet[row * mosaic.height :, column * mosaic.width :][: mosaic.height, : mosaic.width]


def test_frames_and_means():
    """The first quarter of the columns is white in frame 0, the second in frame 1 and so on; one frame is lost."""
    film = [np.zeros((1, 4, 8)) for _ in range(4)]
    for k, frame in enumerate(film):
        frame[..., 2 * k : 2 * k + 2] = 1
    film[3][...] = np.nan
    before, after = Lazy(film), Lazy([film[1]] * 4)
    stack, means = _planes(SequencePage(before, after, film[2]), [0, 2])
    assert before.reads == after.reads == 4 and stack.slices == (0, 2) and stack.aspect == 2
    white, black = 255, 0
    for layer, number, columns in (
        ("before", 0, (0, 1)),
        ("before", 1, (4, 5)),
        ("after", 1, (2, 3)),
        ("reference", 0, (4, 5)),
    ):
        expected = [white if k in columns else black for k in range(8)]
        assert picture(stack.layers[layer], number)[0].tolist() == expected, (layer, number)
    assert picture(stack.layers["overlay_before"], 0)[0, [0, 4, 6]].tolist() == [[0, 255, 0], [255, 0, 255], [0, 0, 0]]
    assert picture(means.layers["mean_before"])[0].tolist() == [85] * 6 + [0] * 2
    assert picture(means.layers["mean_after"])[0].tolist() == [0, 0, 255, 255, 0, 0, 0, 0]


def test_large_frames_are_reduced_to_their_means():
    film = [np.kron(np.eye(2), np.ones((400, 400)))[None].astype(np.uint16) * 1000 for _ in range(2)]
    stack, means = _planes(SequencePage(film, film, film[0]), [0, 1])
    assert (stack.layers["after"].height, means.layers["mean_after"].height) == (320, 800)
    assert stack.note == "shown at 320 × 320 of 800 × 800 pixels"
    corners = picture(stack.layers["after"])[[5, 5, -5, -5], [5, -5, 5, -5]].reshape(4, -1)[:, 0]
    np.testing.assert_allclose(corners, [255, 0, 0, 255], atol=6)  # stored with loss


def test_frames_of_another_size_are_refused(tmp_path):
    film = frames()
    with pytest.raises(ValueError, match=r"after\[0\] has shape 1x12x17, expected 1x12x16"):
        write_sequence_page(tmp_path / "page.html", SequencePage(film, frames(3, (1, 12, 17)), film[0]))
    assert list(tmp_path.iterdir()) == []


def test_many_frames_are_thinned(tmp_path):
    film = frames(300, (1, 4, 4))
    write_sequence_page(tmp_path / "page.html", SequencePage(film, film, film[0]))
    assert "120 of 300 frames are shown" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"after": frames(2)}, "after has 2 entries, expected 3"),
        ({"rows": [{}]}, "rows has 1 entries, expected 3"),
        ({"reference": np.zeros((4, 4))}, r"reference has shape 4x4, expected \(C, H, W\)"),
    ],
)
def test_what_does_not_fit_is_refused(changes, words):
    film = frames()
    with pytest.raises(ValueError, match=words):
        SequencePage(**{"before": film, "after": film, "reference": film[0], **changes})
