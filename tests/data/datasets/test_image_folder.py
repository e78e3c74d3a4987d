"""The image folder layout, on folders made here."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from monai_cellreg.data.datasets.image_folder import list_items

PLANE = np.arange(12, dtype=np.uint8).reshape(3, 4)


def png(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PLANE).save(path)
    return str(path)


def test_images_labels_and_groups(tmp_path):
    images = [png(tmp_path / "images" / f"{name}.png") for name in ("b.1", "a")]
    label = str(tmp_path / "labels" / "a.tif")
    png(tmp_path / "labels" / "other.png")
    tifffile.imwrite(label, PLANE)
    (tmp_path / "index.csv").write_text("id,look,group\na,x,dish 1\nb.1,y,dish 2\nnot here,z,dish 3\n")
    assert list_items(tmp_path) == [
        {"image": images[1], "label": label, "page": None, "group": "dish 1"},
        {"image": images[0], "label": None, "page": None, "group": "dish 2"},
    ]


def test_without_an_index_each_file_is_a_group_with_all_its_pages(tmp_path):
    tifffile.imwrite(tmp_path / "movie.ome.tif", np.stack([PLANE] * 3), photometric="minisblack")
    png(tmp_path / "still.png")
    png(tmp_path / ".hidden.png")
    (tmp_path / "notes.txt").write_text("none")
    items = list_items(tmp_path)
    assert [(Path(item["image"]).name, item["page"], item["group"]) for item in items] == [
        ("movie.ome.tif", 0, "movie"),
        ("movie.ome.tif", 1, "movie"),
        ("movie.ome.tif", 2, "movie"),
        ("still.png", None, "still"),
    ]


def test_an_empty_folder_gives_nothing(tmp_path):
    assert list_items(tmp_path) == []


def test_names_that_differ_in_their_extension_only(tmp_path):
    png(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", PLANE)
    with pytest.raises(ValueError, match="a.tif' and 'a.png' differ in their extension only"):
        list_items(tmp_path)


def test_an_index_that_does_not_serve(tmp_path):
    png(tmp_path / "a.png")
    index = tmp_path / "index.csv"
    index.write_text("id,size\na,3\n")
    with pytest.raises(ValueError, match=r"columns \['id', 'size'\]; expected 'id' and 'group'"):
        list_items(tmp_path)
    index.write_text("id,group\nb,3\n")
    with pytest.raises(ValueError, match="no group for 1 images, the first 'a'"):
        list_items(tmp_path)
