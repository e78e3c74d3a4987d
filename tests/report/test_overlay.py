import numpy as np
import pytest
from PIL import Image

from monai_cellreg.report import overlay
from monai_cellreg.report.overlay import PairPicture, iou_table, save_before_after


def box(rows, columns, shape=(40, 60)):
    mask = np.zeros(shape, np.float32)
    mask[slice(*rows), slice(*columns)] = 1
    return mask


def pair(**changes):
    fixed, moving = box((10, 30), (15, 35)), box((10, 30), (25, 45))
    displacement = np.zeros((2, 40, 60), np.float32)
    displacement[1] = 10
    parts = dict(
        fixed=0.8 * fixed,
        moving=0.8 * moving,
        warped=0.8 * fixed,
        displacement_vox=displacement,
        fixed_mask=fixed,
        moving_mask=moving,
        warped_mask=fixed,
        name="boxes",
    )
    return PairPicture(**{**parts, **changes})


def panels(path):
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    top, width = round(overlay.TITLE_INCH * overlay.DPI), round(overlay.WIDTH_INCH * overlay.DPI) // 5
    height = width * 40 // 60
    return [picture[top : top + height, k * width : (k + 1) * width] for k in range(5)]


def colour_at(panel, row, column):
    """Mean colour around a pixel of the 40 x 60 image that the panel shows."""
    r, c = int((row + 0.5) * panel.shape[0] / 40), int((column + 0.5) * panel.shape[1] / 60)
    return panel[r - 3 : r + 4, c - 3 : c + 4].mean(axis=(0, 1))


def test_overlap_numbers():
    assert pair().iou_before == pytest.approx(10 / 30)
    assert pair().iou_after == 1.0
    empty = np.zeros((40, 60), np.float32)
    assert np.isnan(pair(fixed_mask=empty, moving_mask=empty).iou_before)


def test_panels_show_what_their_titles_say(tmp_path):
    save_before_after(tmp_path / "picture.png", [pair()])
    fixed, moving, before, after, grid = panels(tmp_path / "picture.png")
    only_fixed, both, only_moving = (20, 20), (20, 30), (20, 40)
    assert colour_at(fixed, *only_fixed) == pytest.approx([204] * 3, abs=3)
    assert colour_at(fixed, *only_moving) == pytest.approx([0] * 3, abs=3)
    assert colour_at(moving, *only_moving) == pytest.approx([204] * 3, abs=3)
    assert colour_at(before, *only_fixed) == pytest.approx([204, 0, 204], abs=3)
    assert colour_at(before, *only_moving) == pytest.approx([0, 204, 0], abs=3)
    assert colour_at(before, *both) == pytest.approx([204] * 3, abs=3)
    assert colour_at(after, *only_fixed) == pytest.approx([204] * 3, abs=3)
    assert colour_at(after, *only_moving) == pytest.approx([0] * 3, abs=3)
    coloured = np.ptp(grid, axis=2) > 60
    assert coloured[:, : coloured.shape[1] // 8].sum() == 0  # everything moved 10 of 60 columns to the right
    assert coloured[:, coloured.shape[1] // 4 :].mean() > 0.1


def test_size_is_the_width_and_grows_by_rows(tmp_path):
    sizes = []
    for count in (1, 3):
        save_before_after(tmp_path / f"{count}.png", [pair()] * count)
        sizes.append(Image.open(tmp_path / f"{count}.png").size)
    assert sizes[0][0] == sizes[1][0] == 1200
    row = (240 * 40 / 60) + overlay.CAPTION_INCH * 120
    assert sizes[1][1] - sizes[0][1] == pytest.approx(2 * row, abs=2)


def test_same_pairs_give_the_same_file(tmp_path):
    for name in ("a.png", "b.png"):
        save_before_after(tmp_path / name, [pair()])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_empty_and_full_masks_and_no_motion_are_drawn(tmp_path, recwarn):
    empty, full, still = np.zeros((40, 60)), np.ones((40, 60)), np.zeros((2, 40, 60))
    save_before_after(tmp_path / "picture.png", [pair(fixed_mask=empty, warped_mask=full, displacement_vox=still)])
    assert not [str(warning.message) for warning in recwarn]


def test_failure_leaves_the_old_picture_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")

    def fail(self, name, **options):
        name.write_bytes(b"half")
        raise RuntimeError("disk full")

    monkeypatch.setattr(overlay.Figure, "savefig", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        save_before_after(path, [pair()])
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["picture.png"]


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(ValueError, match="pairs is empty"):
        save_before_after(tmp_path / "a.png", [])
    with pytest.raises(ValueError, match="ends in .png"):
        save_before_after(tmp_path / "a.svg", [pair()])
    with pytest.raises(ValueError, match="titles has 2 entries, expected 5"):
        save_before_after(tmp_path / "a.png", [pair()], titles=("fixed", "moving"))
    with pytest.raises(ValueError, match="moving has shape 60x40, expected 40x60"):
        pair(moving=np.zeros((60, 40)))
    with pytest.raises(ValueError, match="displacement_vox has shape 40x60x2, expected 2x40x60"):
        pair(displacement_vox=np.zeros((40, 60, 2)))
    with pytest.raises(ValueError, match="fixed has shape 1x40x60, expected HxW"):
        pair(fixed=np.zeros((1, 40, 60)))
    assert not list(tmp_path.iterdir())


def test_table_aligns_and_averages():
    table = iou_table(
        [
            {"name": "nucleus 1", "before": 0.8, "after": 0.96, "method": "joint"},
            {"name": "n2", "before": 0.9, "after": 1.0, "method": "tps"},
        ]
    )
    assert table.splitlines() == [
        "name       before  after  method",
        "nucleus 1   0.800  0.960  joint",
        "n2          0.900  1.000  tps",
        "mean        0.850  0.980",
    ]


def test_table_of_one_row_has_no_mean():
    assert iou_table([{"name": "a", "before": 0.5}]).splitlines() == ["name  before", "a      0.500"]


def test_table_refuses_uneven_rows():
    with pytest.raises(ValueError, match="rows is empty"):
        iou_table([])
    with pytest.raises(ValueError, match=r"row 1 has columns \['name'\], expected \['name', 'before'\]"):
        iou_table([{"name": "a", "before": 0.5}, {"name": "b"}])
