"""Images any two of which make a pair: digits of a class, time points of a slice, pictures of a folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch

from ..geometry import SamplingGrid
from ..transforms import normalise
from ..utils import Spacing, check_choice, check_not_negative, check_positive, check_spacing, check_spatial, plain
from .cardiac import CineSlice, read_cardiac
from .datasets import cell_tracking, image_folder
from .datasets.mnist import read_mnist
from .framing import frame_image, pixel_steps
from .listing import list_items, load_item
from .synthetic_heart import simulated_cardiac

__all__ = ["GroupSettings", "Layout", "group_items"]

Layout = Literal["folder", "mnist", "cardiac"]
Section = Literal["train", "validation", "test"]
LAYOUTS = ("folder", "mnist", "cardiac")
SECTIONS = ("train", "validation", "test")


@dataclass(frozen=True)
class GroupSettings:
    """Size of the images, and which subjects are in which section.

    Args:
        image_size: size of all images along each axis, in pixels.
        spacing: their pixel size in mm, one number or one for each axis, for images whose own is known; none leaves
            pixels as they are.
        simulated: number of simulated hearts in each section, for the layout "cardiac".
        held_out: of the subjects in the order of their names, how many at the end are the test section.
        validation: how many before them are the validation section; the others train.
        seed: of the simulated hearts.

    Raises:
        ValueError: for a size or spacing that is not positive, or a negative number.
    """

    image_size: Sequence[int]
    spacing: Spacing = None
    simulated: int = 0
    held_out: int = 0
    validation: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive("image_size", self.image_size)
        check_spacing(self.spacing)
        for name in ("simulated", "held_out", "validation"):
            check_not_negative(name, getattr(self, name))


def group_items(
    dataset_dir: str | PathLike[str] | None, *, layout: Layout, section: Section, options: GroupSettings
) -> list[dict[str, Any]]:
    """Images of one size in [0, 1], each with the name of its group; any two images of a group make a pair.

    Layouts: ``"folder"``: images or volumes in any readable format, in the folder or in its ``images/``, with labels of
    the same names in ``labels/``; or several such folders in one, each a group of one subject. Where all lie in one
    folder, they are one group and each file (each group of an ``index.csv``) is a subject. Sequences of the Cell
    Tracking Challenge are groups. ``"mnist"``: each digit class is a group; the sections are those of
    :func:`~monai_cellreg.data.datasets.mnist.read_mnist`. ``"cardiac"``: the time points of a slice are a group, the
    patient is the subject; see :func:`~monai_cellreg.data.cardiac.read_cardiac`.

    The 0.5th to 99.5th percentile become [0, 1]: of each image in a folder, of all time points of a slice together;
    digits are divided by 255. Then :func:`~monai_cellreg.data.framing.frame_image` takes the middle of each image and
    of its label: images of a folder need not be of one size, but their middles should show the same place.

    Args:
        dataset_dir: folder of the data; none for simulated hearts alone.
        layout: what the folder holds.
        section: ``"train"``, ``"validation"`` or ``"test"``; no subject and no simulated heart is in two of them.
        options: size of the images, and the subjects of the sections.

    Returns:
        Dictionaries with ``image`` (1, *image_size) float32 in [0, 1], ``group``, ``subject`` and, where the image has
        one, ``label`` (1, *image_size) float32.

    Raises:
        ValueError: when there is neither a folder nor a simulated heart, the section has no subject, or images are not
            of the dimension of ``image_size``.
        FileNotFoundError: if the folder does not exist.
        ImageReadError: if a file cannot be used.
    """
    check_choice("layout", layout, LAYOUTS)
    check_choice("section", section, SECTIONS)
    if options.simulated and layout != "cardiac":
        raise ValueError(
            f"simulated is {options.simulated} for the layout {layout!r}; expected 0: only hearts are simulated, for "
            "the layout 'cardiac'"
        )
    if dataset_dir is None and not options.simulated:
        raise ValueError(
            "dataset_dir is None and simulated is 0; expected a folder of images, or simulated hearts for the layout "
            "'cardiac', or both"
        )
    if layout == "cardiac":
        return _heart_items(dataset_dir, section, options)
    assert dataset_dir is not None
    if layout == "mnist":
        return _digit_items(dataset_dir, section, options)
    return _folder_items(Path(dataset_dir), section, options)


def _digit_items(dataset_dir: str | PathLike[str], section: Section, options: GroupSettings) -> list[dict[str, Any]]:
    images, classes = read_mnist(dataset_dir, section)
    items = []
    for index, (image, digit) in enumerate(zip(images, classes.tolist(), strict=True)):
        pixels = torch.from_numpy(image).float() / 255
        framed = frame_image(pixels[None], options.image_size, (1.0, 1.0))
        items.append({"image": framed, "group": f"digit{digit}", "subject": f"{section}{index:05d}"})
    return items


def _folder_items(root: Path, section: Section, options: GroupSettings) -> list[dict[str, Any]]:
    entries = _listed(root)
    wanted = _subjects({entry["subject"] for entry in entries}, section, options)
    items = []
    for entry in entries:
        if entry["subject"] not in wanted:
            continue
        image, label = load_item(entry)
        check_spatial(image.shape[1:], len(options.image_size), f"image {entry['image']!r}")
        steps = pixel_steps(SamplingGrid.from_image(image), options.spacing)
        framed = frame_image(normalise(plain(image)[None])[0], options.image_size, steps)
        items.append({"image": framed, "group": entry["group"], "subject": entry["subject"]})
        if label is not None:
            items[-1]["label"] = frame_image(plain(label).float(), options.image_size, steps, label=True)
    return items


def _listed(root: Path) -> list[dict[str, Any]]:
    """The images of a folder, each with the group that it makes pairs in and the subject that it is of."""
    if not root.is_dir():
        raise FileNotFoundError(f"dataset_dir {str(root)!r} is not an existing folder; expected a folder of images")
    if cell_tracking.is_cell_tracking(root):
        return [{**entry, "subject": entry["group"]} for entry in list_items(root)]
    alone = image_folder.list_items(root)
    parts = _listed_parts(root)
    if alone and parts:
        raise ValueError(
            f"dataset_dir {str(root)!r} holds {len(alone)} images, and others in its folders {', '.join(parts)}; "
            "expected either one group, or a folder for each group: move the images into a folder of their own"
        )
    if parts:
        return [{**entry, "group": name, "subject": name} for name, found in parts.items() for entry in found]
    return [{**entry, "group": root.name, "subject": entry["group"]} for entry in list_items(root)]


def _listed_parts(root: Path) -> dict[str, list[dict[str, Any]]]:
    """The images of each folder in a folder; none where ``images/`` says that all are of one group."""
    if (root / "images").is_dir():
        return {}
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".") and p.name != "labels")
    return {p.name: found for p in folders if (found := image_folder.list_items(p))}


def _heart_items(
    dataset_dir: str | PathLike[str] | None, section: Section, options: GroupSettings
) -> list[dict[str, Any]]:
    slices: list[CineSlice] = []
    if dataset_dir is not None:
        stored = read_cardiac(dataset_dir)
        wanted = _subjects({one.patient for one in stored}, section, options)
        slices += [one for one in stored if one.patient in wanted]
    if options.simulated:
        seed = options.seed * len(SECTIONS) + SECTIONS.index(section)
        made = simulated_cardiac(options.simulated, seed=seed)
        slices += [replace(one, patient=f"{section}_{one.patient}") for one in made]
    return [item for one in slices for item in _cine_items(one, options)]


def _cine_items(cine: CineSlice, options: GroupSettings) -> list[dict[str, Any]]:
    size, steps = options.image_size, pixel_steps(cine.grid, options.spacing)
    images = frame_image(normalise(cine.images[None])[0], size, steps)  # time points in the place of channels
    names = {"group": f"{cine.patient}_slice{cine.slice_number:02d}", "subject": cine.patient}
    items = [{"image": image[None], **names} for image in images]
    for time, label in cine.labels.items():
        items[time]["label"] = frame_image(label[None].float(), size, steps, label=True)
    return items


def _subjects(names: Iterable[str], section: Section, options: GroupSettings) -> set[str]:
    """The subjects of a section; see :class:`GroupSettings`."""
    ordered = sorted(names)
    test = max(len(ordered) - options.held_out, 0)
    validation = max(test - options.validation, 0)
    parts = (ordered[:validation], ordered[validation:test], ordered[test:])
    wanted = parts[SECTIONS.index(section)]
    if not wanted and not options.simulated:
        raise ValueError(
            f"the section {section!r} is empty: of {len(ordered)} subjects, held_out={options.held_out} are the test "
            f"section and validation={options.validation} the validation section; expected at least one: choose other "
            "numbers, or add images of other subjects"
        )
    return set(wanted)
