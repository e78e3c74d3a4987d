"""The single nuclei that a training, its validation and its test use."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from ..transforms.nuclei import DEFAULT_CROPS, CropSettings
from ..utils import check_choice, plain
from .nuclei import nuclei_items
from .synthetic import simulated_items

SIMULATED_SEEDS = {"train": 0, "validation": 1, "test": 2}  # sections never share a specimen


def training_items(
    dataset_dir: str | Path | None,
    *,
    section: Literal["train", "validation", "test"],
    image_size: int,
    simulated: int = 0,
    crops: CropSettings | None = DEFAULT_CROPS,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Nuclei of a folder, of the simulator, or of both.

    Args:
        dataset_dir: folder of images (see :func:`~monai_cellreg.data.nuclei.nuclei_items`); ``None`` for none.
        section: ``"train"``, ``"validation"`` or ``"test"``; no group and no simulated specimen is in two of them.
        image_size: side of the square pictures in pixels.
        simulated: number of simulated nuclei.
        crops: how single nuclei are cut from labelled fields; ``None`` keeps whole fields.
        seed: of the split and of everything drawn.

    Returns:
        Dictionaries with ``image``, ``label`` (1, image_size, image_size) and ``group``.

    Raises:
        ValueError: when neither a folder nor a number of simulated nuclei is given, for another section, or when the
            folder cannot be used.
    """
    check_choice("section", section, SIMULATED_SEEDS)
    if dataset_dir is None and simulated < 1:
        raise ValueError(
            f"dataset_dir is None and simulated is {simulated}; expected a folder, simulated nuclei, or both"
        )
    items: list[dict[str, Any]] = []
    if dataset_dir is not None:
        items += nuclei_items(
            dataset_dir,
            section=section,
            image_size=image_size,
            crops=crops or DEFAULT_CROPS,
            whole_fields=crops is None,
            seed=seed,
        )
    if simulated:
        section_seed = seed * len(SIMULATED_SEEDS) + SIMULATED_SEEDS[section]
        drawn = simulated_items(simulated, image_size=image_size, seed=section_seed)
        items += [{**item, "group": f"{section}_{item['group']}"} for item in drawn]
    return [{**item, "image": plain(item["image"]), "label": plain(item["label"])} for item in items]
