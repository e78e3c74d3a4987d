"""Lists of pairs: paths relative to the list, what is optional, and errors that name the line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from monai_cellreg.benchmarks.cases_listed import listed_pairs


def written(folder: Path, *lines: str) -> Path:
    path = folder / "pairs.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return path


def test_pairs_are_read_with_what_is_known_of_them(film_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(
        film_files,
        "moving, fixed,fixed_label,moving_label",
        "day1.tif,day0.tif,label0.tif,label1.tif",
        "day0.tif,day1.tif,,",
    )
    monkeypatch.chdir("/")
    pairs, text = listed_pairs(path)
    assert list(pairs) == ["001 day0.tif day1.tif", "002 day1.tif day0.tif"]
    first, second = (load() for load in pairs.values())
    for name, file in (("fixed", "day0"), ("moving", "day1"), ("fixed_label", "label0"), ("moving_label", "label1")):
        expected = tifffile.imread(film_files / f"{file}.tif")
        np.testing.assert_array_equal(np.asarray(getattr(first, name))[0], expected)
    assert second.fixed_label is None and second.fixed_landmarks is None
    assert text.startswith("moving, fixed")


def test_landmarks_are_world_points_of_their_own_image(tmp_path: Path) -> None:
    """x runs along columns; the fixed image has pixels of 0.5 µm."""
    values = np.add.outer(np.arange(20), np.arange(30)).astype(np.uint8)
    for name, size in (("a", 0.5), ("b", 2.0)):
        meta = {"axes": "YX", "PhysicalSizeX": size, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": size}
        tifffile.imwrite(tmp_path / f"{name}.ome.tif", values, metadata=meta | {"PhysicalSizeYUnit": "µm"})
    (tmp_path / "a.csv").write_text("id,X,Y\n0,10,4\n1,,\n")
    (tmp_path / "b.csv").write_text("row,col\n1,3\n2,5\n")
    path = written(tmp_path, "fixed,moving,fixed_points,moving_points", "a.ome.tif,b.ome.tif,a.csv,b.csv")
    (load,) = listed_pairs(path)[0].values()
    pair = load()
    np.testing.assert_allclose(pair.fixed_landmarks, [[2, 5], [np.nan, np.nan]])
    np.testing.assert_allclose(pair.moving_landmarks, [[2, 6], [4, 10]])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["fixed,movin", "a.tif,b.tif"],
            r"has the columns \['fixed', 'movin'\]; expected fixed and moving.*Check movin, moving",
        ),
        (["fixed,moving"], "lists no pairs; expected a row a pair"),
        (["fixed,moving", "day0.tif,"], "line 2 of .*pairs.csv has no moving"),
        (
            ["fixed,moving", "day0.tif,day1.tif", "day0.tif,gone.tif"],
            "line 3 of .* names moving 'gone.tif', which does not",
        ),
        (["fixed,moving,fixed_label", "day0.tif,day1.tif,label0.tif"], "line 2 of .* has no moving_label"),
    ],
)
def test_unusable_lists_are_refused(film_files: Path, lines: list[str], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        listed_pairs(written(film_files, *lines))


def test_a_missing_list_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"case .*none\.csv does not exist"):
        listed_pairs(tmp_path / "none.csv")
