"""Items of nuclei from folders made here."""

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from PIL import Image

from monai_cellreg.data.nuclei import nuclei_items
from monai_cellreg.transforms.nuclei import CropSettings

CENTRES = [(25, 30), (60, 45), (45, 95)]  # row, column of three nuclei in a field of 90 x 120


def write_field(root: Path, name: str, *, labelled: bool = True, shape=(90, 120)) -> None:
    for folder in ("images", "labels") if labelled else ("images",):
        (root / folder).mkdir(parents=True, exist_ok=True)
    row, column = np.indices(shape)
    image, label = np.random.default_rng(len(name)).normal(20, 2, shape), np.zeros(shape, np.uint16)
    for number, (r, c) in enumerate(CENTRES, start=1):
        inside = ((row - r) / 9) ** 2 + ((column - c) / 13) ** 2 <= 1
        image[inside], label[inside] = 150 + 10 * number, number
    Image.fromarray(image.astype(np.uint8)).save(root / "images" / f"{name}.png")
    if labelled:
        Image.fromarray(label).save(root / "labels" / f"{name}.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a1", "a2", "b1", "b2", "c1", "d1"):
        write_field(tmp_path, name)
    (tmp_path / "index.csv").write_text("id,group\na1,a\na2,a\nb1,b\nb2,b\nc1,c\nd1,d\n")
    return tmp_path


def test_a_labelled_field_gives_one_item_a_nucleus(folder):
    items = nuclei_items(folder, section="all", image_size=32, crops=CropSettings(fill=0.8))
    assert len(items) == 6 * 3
    assert [item["group"] for item in items] == ["a"] * 6 + ["b"] * 6 + ["c"] * 3 + ["d"] * 3
    for item in items:
        assert set(item) == {"image", "label", "group"}
        assert (item["image"].shape, item["label"].shape) == ((1, 32, 32), (1, 32, 32))
        assert item["label"].mean() == pytest.approx(np.pi / 4 * 9 / 13 * 0.8**2, rel=0.12)


def test_sections_share_no_group_and_together_hold_everything(folder):
    sections = [nuclei_items(folder, section=name, image_size=16) for name in ("train", "validation", "test")]
    groups = [{item["group"] for item in items} for items in sections]
    assert all(groups)
    assert sorted(group for part in groups for group in part) == ["a", "b", "c", "d"]


def test_frames_depend_on_the_seed_but_not_on_where_the_folder_lies(folder, tmp_path_factory):
    moved = tmp_path_factory.mktemp("elsewhere") / "cells"
    few = CropSettings(max_nuclei=2)
    before = nuclei_items(folder, section="all", image_size=24, crops=few)
    other = nuclei_items(folder, section="all", image_size=24, crops=few, seed=1)
    folder.rename(moved)
    after = nuclei_items(moved, section="all", image_size=24, crops=few)
    assert len(before) == len(after) == 12
    assert all(torch.equal(x["image"], y["image"]) for x, y in zip(before, after, strict=True))
    assert not all(torch.equal(x["image"], y["image"]) for x, y in zip(before, other, strict=True))


def test_whole_fields_keep_all_nuclei_and_the_axes(folder):
    items = nuclei_items(folder, section="all", image_size=60, whole_fields=True)
    assert len(items) == 6
    for item in items:
        image, label = item["image"][0], item["label"][0]
        assert label.unique().tolist() == [0, 1]
        for row, column in CENTRES:  # 90 x 120 pixels became 60 x 60
            place = round((row + 0.5) * 60 / 90 - 0.5), round((column + 0.5) * 60 / 120 - 0.5)
            assert label[place] == 1 and image[place] > 0.7
        assert label.mean() == pytest.approx(3 * np.pi * 9 * 13 / (90 * 120), rel=0.1)


def test_unlabelled_images_are_frames_with_pseudo_labels(tmp_path):
    write_field(tmp_path, "plain", labelled=False)
    write_field(tmp_path, "larger", labelled=False, shape=(100, 130))  # sizes may be mixed
    items = nuclei_items(tmp_path, section="all", image_size=64)
    assert [item["group"] for item in items] == ["larger", "plain"]
    for item in items:
        assert (item["image"].shape, item["image"].dtype) == ((1, 64, 64), torch.float32)
        assert (item["image"].min(), item["image"].max()) == (0, 1)
    expected = nuclei_items(_labelled_copy(tmp_path), section="all", image_size=64, whole_fields=True)[0]["label"] > 0
    found = items[1]["label"] > 0
    assert (found & expected).sum() / (found | expected).sum() > 0.9


def _labelled_copy(root: Path) -> Path:
    write_field(root / "copy", "plain")
    return root / "copy"


def test_items_go_through_a_monai_loader(folder):
    items = nuclei_items(folder, section="all", image_size=16)
    batch = next(iter(DataLoader(Dataset(items), batch_size=4)))
    assert batch["image"].shape == (4, 1, 16, 16)
    assert batch["group"] == ["a"] * 4


def test_of_two_groups_one_is_held_out_for_validation_and_test(tmp_path):
    for name in ("a1", "b1"):
        write_field(tmp_path, name)
    train, validation, test = (
        {item["group"] for item in nuclei_items(tmp_path, section=section, image_size=16)}
        for section in ("train", "validation", "test")
    )
    assert validation == test and len(train) == len(test) == 1 and train != test


def test_folders_that_do_not_serve(tmp_path):
    with pytest.raises(FileNotFoundError, match="not an existing folder"):
        nuclei_items(tmp_path / "none", section="all")
    write_field(tmp_path, "a")
    with pytest.raises(ValueError, match="section is 'val', expected one of 'train', 'validation'"):
        nuclei_items(tmp_path, section="val")
    with pytest.raises(ValueError, match="has 1 groups .a.; expected at least 3"):
        nuclei_items(tmp_path, section="train")
    with pytest.raises(ValueError, match="no nucleus of 5000 pixels or more"):
        nuclei_items(tmp_path, section="all", crops=CropSettings(min_area_px=5000))


def test_volumes_are_refused(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    volume = np.random.default_rng(0).random((6, 7, 8)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(ValueError, match=r"shape \(1, 6, 7, 8\); expected a 2D image"):
        nuclei_items(tmp_path, section="all")
