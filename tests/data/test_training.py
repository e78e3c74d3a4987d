"""Training, validation and test never share a nucleus, whether from a folder, from the simulator or from both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from monai_cellreg.data import simulated_items, training_items

SECTIONS = ("train", "validation", "test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten unlabelled images, each a group of its own."""
    for index, item in enumerate(simulated_items(10, image_size=40, seed=9)):
        Image.fromarray((255 * item["image"][0]).astype(np.uint8)).save(tmp_path / f"cell{index}.png")
    return tmp_path


def looks(items: list[dict[str, Any]]) -> set[bytes]:
    return {item["image"].numpy().tobytes() for item in items}


@pytest.mark.parametrize("source", ["simulated", "folder", "both"])
def test_sections_share_neither_groups_nor_pictures(source: str, folder: Path) -> None:
    options = {"dataset_dir": None if source == "simulated" else folder, "simulated": 0 if source == "folder" else 6}
    parts = [training_items(section=section, image_size=32, **options) for section in SECTIONS]
    for content in ([{item["group"] for item in part} for part in parts], [looks(part) for part in parts]):
        assert all(content)
        assert len(set.union(*content)) == sum(map(len, content))
    if source == "folder":
        assert sum(map(len, parts)) == 10
    if source == "both":
        alone = [training_items(folder, section=section, image_size=32) for section in SECTIONS]
        assert [len(part) for part in parts] == [len(part) + 6 for part in alone]


def test_format_is_plain_tensors() -> None:
    for item in training_items(None, section="train", image_size=32, simulated=3):
        assert set(item) == {"image", "label", "group"}
        for name in ("image", "label"):
            assert type(item[name]) is torch.Tensor
            assert item[name].shape == (1, 32, 32) and item[name].dtype == torch.float32
        assert set(item["label"].unique().tolist()) == {0.0, 1.0}


def test_images_of_a_folder_become_plain_tensors_too(folder: Path) -> None:
    item = training_items(folder, section="validation", image_size=32)[0]
    assert type(item["image"]) is torch.Tensor and item["image"].shape == (1, 32, 32)


def test_seed_alone_decides() -> None:
    first, again = (training_items(None, section="train", image_size=32, simulated=4) for _ in range(2))
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(first, again, strict=True))


def test_no_two_seeds_and_sections_share_a_nucleus() -> None:
    parts = [
        looks(training_items(None, section=section, image_size=32, simulated=2, seed=seed))
        for section in SECTIONS
        for seed in range(3)
    ]
    assert len(set.union(*parts)) == 2 * len(parts)


def test_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(ValueError, match="dataset_dir is None and simulated is 0; expected a folder, simulated nuclei"):
        training_items(None, section="train", image_size=32)


def test_unknown_section_is_refused() -> None:
    with pytest.raises(ValueError, match="section is 'val', expected one of 'train', 'validation', 'test'"):
        training_items(None, section="val", image_size=32, simulated=2)


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        training_items(tmp_path / "nowhere", section="train", image_size=32)
