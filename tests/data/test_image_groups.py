"""Images of one size, in groups that make pairs, from every layout; no subject is in two sections."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from monai_cellreg.data import GroupSettings, group_items, read_image, simulated_cardiac

SECTIONS = ("train", "validation", "test")
RNG = np.random.default_rng(0)


def write_image(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(20, 200, shape, dtype=np.uint8)


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Six labelled images of different sizes; the label is where the image is bright."""
    root = tmp_path / "flat"
    for k in range(6):
        image = noise(12 + k, 19 - k)
        write_image(root / "images" / f"p{k}.png", image)
        write_image(root / "labels" / f"p{k}.png", (image > 100).astype(np.uint8) * (k + 1))
    return root


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    root = tmp_path / "digits"
    root.mkdir()
    images, classes = noise(60, 28, 28), np.arange(60, dtype=np.uint8) % 10
    for name, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", classes)):
        header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
        (root / f"{name}.gz").write_bytes(gzip.compress(header + array.tobytes()))
    return root


@pytest.fixture
def hearts(tmp_path: Path) -> Path:
    """Four patients of two slices, in the HDF5 layout of ACDC."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    root = tmp_path / "hearts"
    root.mkdir()
    for patient in range(1, 5):
        look = RNG.random((2, 20, 24))
        for frame, brightness in ((1, 0.5), (9, 1.0)):
            with h5py.File(root / f"patient{patient:03d}_frame{frame:02d}.h5", "w") as file:
                file["image"] = (brightness * (look + RNG.random(look.shape)) / 2).astype(np.float32)
                file["label"] = RNG.integers(0, 4, look.shape, dtype=np.uint8)
    return root


def sections(folder: Path | None, layout: Any, options: GroupSettings) -> list[list[dict[str, Any]]]:
    return [group_items(folder, layout=layout, section=section, options=options) for section in SECTIONS]


def check_format(items: list[dict[str, Any]], size: tuple[int, ...]) -> None:
    assert items
    for item in items:
        assert {"image", "group", "subject"} <= set(item) <= {"image", "label", "group", "subject"}
        for name in set(item) & {"image", "label"}:
            assert type(item[name]) is torch.Tensor
            assert item[name].shape == (1, *size) and item[name].dtype == torch.float32
        assert 0 <= float(item["image"].min()) < float(item["image"].max()) <= 1


def test_images_of_one_folder_are_one_group_and_each_a_subject(flat: Path) -> None:
    parts = sections(flat, "folder", GroupSettings((10, 16), held_out=2, validation=1))
    assert [[item["subject"] for item in part] for part in parts] == [["p0", "p1", "p2"], ["p3"], ["p4", "p5"]]
    for part in parts:
        check_format(part, (10, 16))
        assert {item["group"] for item in part} == {"flat"}


def test_images_are_scaled_by_percentiles_before_they_are_cut(flat: Path) -> None:
    item = group_items(flat, layout="folder", section="train", options=GroupSettings((9, 10)))[2]
    stored = read_image(flat / "images" / "p2.png")[0].numpy()
    low, high = np.percentile(stored, (0.5, 99.5))
    expected = np.clip((stored - low) / (high - low), 0, 1)
    rows, columns = ((14 - 9 + 1) // 2, (17 - 10 + 1) // 2)  # of 14 x 17 pixels
    cut = np.s_[rows : rows + 9, columns : columns + 10]
    np.testing.assert_allclose(item["image"][0], expected[cut], atol=1e-6)
    np.testing.assert_array_equal(item["label"][0], 3.0 * (stored > 100)[cut])


def test_sub_folders_are_groups_and_subjects(tmp_path: Path) -> None:
    for name, images in (("ann", "a b"), ("bob", "a"), ("cy", "a b c")):
        for image in images.split():
            write_image(tmp_path / name / f"{image}.png", noise(11, 13))
    write_image(tmp_path / "bob" / "labels" / "a.png", np.eye(11, 13, dtype=np.uint8))
    (tmp_path / "notes").mkdir()
    options = GroupSettings((11, 13), held_out=1, validation=1)
    parts = sections(tmp_path, "folder", options)
    assert [Counter(item["group"] for item in part) for part in parts] == [{"ann": 2}, {"bob": 1}, {"cy": 3}]
    assert all(item["subject"] == item["group"] for part in parts for item in part)
    assert ["label" in item for part in parts for item in part] == [False, False, True, False, False, False]


def test_frames_of_a_film_are_a_group(tmp_path: Path) -> None:
    for folder in ("01", "02"):
        for time in range(3):
            write_image(tmp_path / folder / f"t{time:03d}.tif", noise(11, 13))
    write_image(tmp_path / "01_label" / "man_seg001.tif", np.eye(11, 13, dtype=np.uint8))
    options = GroupSettings((11, 13), held_out=1)
    parts = [group_items(tmp_path, layout="folder", section=name, options=options) for name in ("validation", "test")]
    assert [[item["group"] for item in part] for part in parts] == [["01"] * 3, ["02"] * 3]
    assert ["label" in item for item in parts[0]] == [False, True, False]


def test_volumes_are_brought_to_one_voxel_size(tmp_path: Path) -> None:
    """A ball of 6 mm radius keeps its size in mm and its place relative to the middle."""
    for k, spacing in enumerate(((1.0, 1.5, 2.0), (0.8, 1.2, 1.0))):
        shape = tuple(round(40 / s) for s in spacing)
        place = (np.moveaxis(np.indices(shape), 0, -1) - (np.array(shape) - 1) / 2) * spacing
        ball = (np.linalg.norm(place - [3.0, -4, 2], axis=-1) < 6).astype(np.uint8)
        for folder, array in (("images", ball * 100.0 + 5), ("labels", ball)):
            (tmp_path / folder).mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([*spacing, 1.0])), tmp_path / folder / f"v{k}.nii.gz")
    items = group_items(
        tmp_path, layout="folder", section="train", options=GroupSettings((30, 32, 28), spacing=1.0, validation=0)
    )
    check_format(items, (30, 32, 28))
    middle = (torch.tensor([30.0, 32, 28]) - 1) / 2 + torch.tensor([3.0, -4, 2])
    for item in items:
        assert set(item["label"].unique().tolist()) == {0.0, 1.0}
        for name, tolerance in (("image", 0.25), ("label", 0.3)):
            inside = (item[name][0] > 0.5).nonzero().float()
            assert len(inside) == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.06)
            assert (inside.mean(0) - middle).abs().max() < tolerance


def test_pixels_of_unknown_size_stay_as_they_are(flat: Path) -> None:
    plain, spaced = (
        group_items(flat, layout="folder", section="train", options=GroupSettings((10, 10), spacing=spacing))
        for spacing in (None, 0.5)
    )
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(plain, spaced, strict=True))


def test_digits_of_a_class_are_a_group(digits: Path) -> None:
    parts = sections(digits, "mnist", GroupSettings((28, 28), spacing=2.0))
    assert [len(part) for part in parts] == [40, 8, 12]
    check_format([item for part in parts for item in part], (28, 28))
    assert {item["group"] for item in parts[0]} == {f"digit{k}" for k in range(10)}
    subjects = [{item["subject"] for item in part} for part in parts]
    assert len(set.union(*subjects)) == 60
    stored = gzip.decompress((digits / "images-idx3-ubyte.gz").read_bytes())[16:]
    first_of_test = np.frombuffer(stored, np.uint8).reshape(60, 28, 28)[48]
    np.testing.assert_allclose(parts[2][0]["image"][0], first_of_test / 255, atol=1e-6)
    assert parts[2][0]["group"] == "digit8"
    check_format(group_items(digits, layout="mnist", section="test", options=GroupSettings((32, 24))), (32, 24))


def test_time_points_of_a_slice_are_a_group(hearts: Path) -> None:
    parts = sections(hearts, "cardiac", GroupSettings((16, 26), held_out=1, validation=2))
    names = [sorted({item["subject"] for item in part}) for part in parts]
    assert names == [["patient001"], ["patient002", "patient003"], ["patient004"]]
    for part, patients in zip(parts, names, strict=True):
        check_format(part, (16, 26))
        groups = Counter(item["group"] for item in part)
        assert groups == {f"{patient}_slice{number:02d}": 2 for patient in patients for number in range(2)}
        assert all("label" in item for item in part)


def test_time_points_are_scaled_together_and_cut_alike(hearts: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    items = group_items(hearts, layout="cardiac", section="train", options=GroupSettings((20, 24)))
    for item, frame in zip([items[2], items[3]], (1, 9), strict=True):  # the second slice
        with h5py.File(hearts / f"patient001_frame{frame:02d}.h5") as file:
            image, label = file["image"][1], file["label"][1]
        with h5py.File(hearts / f"patient001_frame{10 - frame:02d}.h5") as file:
            low, high = np.percentile([image, file["image"][1]], (0.5, 99.5))
        np.testing.assert_allclose(item["image"][0], np.clip((image - low) / (high - low), 0, 1), atol=1e-5)
        np.testing.assert_array_equal(item["label"][0], label)


def test_simulated_hearts_are_new_in_every_section_and_of_the_wanted_pixel_size() -> None:
    options = GroupSettings((48, 40), spacing=2.8, simulated=1, held_out=5, seed=2)
    parts = sections(None, "cardiac", options)
    subjects = [{item["subject"] for item in part} for part in parts]
    assert subjects == [{f"{section}_heart000"} for section in SECTIONS]
    looks = [part[0]["image"].numpy().tobytes() for part in parts]
    assert len(set(looks)) == 3
    for part in parts:
        check_format(part, (48, 40))
        assert set(Counter(item["group"] for item in part).values()) == {20}
    made = simulated_cardiac(1, slices=1, seed=6)[0].labels[0]  # 1.4 mm
    assert float((parts[0][0]["label"] == 3).sum()) == pytest.approx(float((made == 3).sum()) / 4, rel=0.03)


def test_simulated_hearts_join_those_of_a_folder(hearts: Path) -> None:
    options = GroupSettings((16, 16), simulated=1, held_out=1)
    items = group_items(hearts, layout="cardiac", section="train", options=options)
    assert {item["subject"] for item in items} == {"patient001", "patient002", "train_heart000"}


def test_what_cannot_be_given_is_refused(flat: Path, tmp_path: Path) -> None:
    settings = GroupSettings((8, 8))
    with pytest.raises(ValueError, match="dataset_dir is None and simulated is 0; expected a folder"):
        group_items(None, layout="cardiac", section="train", options=settings)
    with pytest.raises(ValueError, match="simulated is 2 for the layout 'folder'; expected 0"):
        group_items(flat, layout="folder", section="train", options=GroupSettings((8, 8), simulated=2))
    with pytest.raises(ValueError, match="layout is 'digits'"):
        group_items(flat, layout="digits", section="train", options=settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="section is 'val'"):
        group_items(flat, layout="folder", section="val", options=settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the section 'test' is empty: of 6 subjects, held_out=0"):
        group_items(flat, layout="folder", section="test", options=settings)
    with pytest.raises(ValueError, match="the section 'train' is empty: of 6 subjects, held_out=5"):
        group_items(flat, layout="folder", section="train", options=GroupSettings((8, 8), held_out=5))
    with pytest.raises(ValueError, match=r"p0\.png.* has 2 spatial axes .* expected 3"):
        group_items(flat, layout="folder", section="train", options=GroupSettings((8, 8, 8)))
    write_image(tmp_path / "mixed" / "a.png", noise(9, 9))
    write_image(tmp_path / "mixed" / "ann" / "b.png", noise(9, 9))
    with pytest.raises(ValueError, match="holds 1 images, and others in its folders ann; expected either"):
        group_items(tmp_path / "mixed", layout="folder", section="train", options=settings)
    with pytest.raises(FileNotFoundError, match="is not an existing folder"):
        group_items(tmp_path / "none", layout="folder", section="train", options=settings)
    for wrong in ({"image_size": (0, 8)}, {"spacing": -1.0}, {"held_out": -1}, {"simulated": -1}, {"validation": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} is "):
            GroupSettings(**{"image_size": (8, 8), **wrong})
