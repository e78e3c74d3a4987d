"""Recognising a folder's layout, and loading what it lists."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from monai_cellreg.data.listing import list_items, load_item
from monai_cellreg.data.readers import ImageReadError

PAGES = np.random.default_rng(0).integers(0, 200, (2, 5, 8)).astype(np.uint16)


def tiff(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, array, photometric="minisblack")


def test_both_layouts_are_recognised(tmp_path):
    tiff(tmp_path / "folder" / "images" / "a.tif", PAGES[0])
    tiff(tmp_path / "challenge" / "01" / "t000.tif", PAGES[0])
    assert [item["group"] for item in list_items(tmp_path / "folder")] == ["a"]
    assert [item["group"] for item in list_items(str(tmp_path / "challenge"))] == ["01"]


def test_a_missing_and_an_empty_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="none' is not an existing folder"):
        list_items(tmp_path / "none")
    with pytest.raises(ValueError, match=r"holds no images; looked for images/\* .*01/t000.tif"):
        list_items(tmp_path)


def test_image_and_label_are_read_page_by_page(tmp_path):
    tiff(tmp_path / "images" / "a.tif", PAGES)
    tiff(tmp_path / "labels" / "a.tif", PAGES % 3)
    for page, item in enumerate(list_items(tmp_path)):
        image, label = load_item(item)
        np.testing.assert_array_equal(image[0], PAGES[page])
        np.testing.assert_array_equal(label[0], PAGES[page] % 3)


def test_an_unlabelled_image_has_no_label(tmp_path):
    tiff(tmp_path / "a.tif", PAGES[0])
    image, label = load_item(list_items(tmp_path)[0])
    assert (tuple(image.shape), label) == ((1, 5, 8), None)


def test_labels_that_do_not_fit(tmp_path):
    tiff(tmp_path / "images" / "a.tif", PAGES[0])
    tiff(tmp_path / "labels" / "a.tif", PAGES[0].T)
    with pytest.raises(ImageReadError, match=r"size \(8, 5\) but its image .* has \(5, 8\)"):
        load_item(list_items(tmp_path)[0])
    tiff(tmp_path / "images" / "a.tif", PAGES)
    with pytest.raises(ImageReadError, match="page is 1 but .*labels.* has 1 pages"):
        load_item(list_items(tmp_path)[1])
