"""The picture of tracks, pixel by pixel, and the section of the page."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from monai_cellreg.report import SequencePage, write_sequence_page
from monai_cellreg.report.motion import MotionPicture, MotionSection, draw_motion


def drawn(tracks: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    still = np.zeros((1, 20, 40))
    still[0, 0, 0] = 1
    picture = draw_motion(MotionPicture((still, still), tracks, (2.0, 1.0)))
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def coloured(picture: np.ndarray) -> np.ndarray:
    """Rows and columns of coloured pixels, as shares of the two halves and their height."""
    rows, columns = np.nonzero(np.ptp(picture, axis=2) > 60)
    return np.stack([rows, columns], axis=1) / [picture.shape[0], picture.shape[1]]


def test_tracks_lie_where_their_pixels_are() -> None:
    """Before at the lower left of its half, after at the upper right of the other, rows before columns."""
    low = np.array([[15.0, 5.0], [15.0, 9.0]])
    high = np.array([[3.0, 33.0], [3.0, 36.0]])
    places = coloured(drawn([(low, high)]))
    left, right = places[places[:, 1] < 0.5], places[places[:, 1] >= 0.5]
    title = 0.06  # of the height, above the images
    np.testing.assert_allclose(left.mean(0), [title + 0.94 * 15.5 / 20, 7.5 / 40 / 2], atol=0.02)
    np.testing.assert_allclose(right.mean(0), [title + 0.94 * 3.5 / 20, 0.5 + 35 / 40 / 2], atol=0.02)


def test_tracks_differ_in_colour_and_a_single_point_is_seen() -> None:
    dots = [np.array([[10.0, 8.0 * k + 4]]) for k in range(5)]
    picture = drawn([(dot, dot) for dot in dots])
    places = coloured(picture)
    left = places[places[:, 1] < 0.5]
    assert len(np.unique(np.floor(left[:, 1] * 10))) >= 5
    hues = {tuple(picture[int(r * picture.shape[0]), int(c * picture.shape[1])] // 40) for r, c in left}
    assert len(hues) >= 5


def test_section_of_the_page(tmp_path: Path) -> None:
    still = np.zeros((1, 4, 5))
    section = MotionSection(
        draw_motion(MotionPicture((still, still), [], (1.0, 1.0))),
        [(f"<{k}>", 3, (12.3456, 1.5), (7.0, 0.25)) for k in range(501)],
        np.array([[4.0, 8.0], [1.0, np.nan]]),
        "µm",
        untrusted=2,
    )
    write_sequence_page(tmp_path / "page.html", SequencePage([still], [still], still, motion=section))
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "&lt;7&gt;" in text and "<7>" not in text and "500 of 501 tracks are listed" in text
    for part in ("12.3", "0.25", "displacement in µm², by lag", "2 points lie in frames that could not be registered"):
        assert part in text
    assert text.count("<svg") == 1 and text.count('class="series-1"') == 1
