"""A folder of images for a label server, made from public data, with the true labels kept outside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from ..data.cardiac import read_cardiac
from ..data.cine_slice import CineSlice
from ..data.datasets.cell_tracking import list_items
from ..methods.json_files import write_json
from ..utils import ensure_writable_dir
from .cardiac_pairs import LEAST_PIXELS, held_out_slices

__all__ = ["GROUPS", "HEARTS", "NUCLEI", "SLICES", "LabelPair", "prepare_studies", "read_pairs", "truth_folder"]

HEARTS, SLICES, NUCLEI = "hearts", "slices", "nuclei"
GROUPS = (HEARTS, SLICES, NUCLEI)
LABELS = Path("labels", "final")  # where a label server looks for labels that a person has made
PAIRS = "pairs.json"
FRAMES = 10  # of nuclei, around the labelled one
SPACING_MM = (1.5625, 1.5625, 10.0)  # x, y, z: common in ACDC, for files that tell none


@dataclass(frozen=True)
class LabelPair:
    """An image without a label in the folder, and the labelled one that its label is to come from.

    Args:
        group: what kind of pair it is.
        case: patient, or frame of a film; pairs of one case are scored together.
        image: id of the image.
        reference: id of the labelled image.
        image_file: in the folder of images.
        reference_file: in the folder of images.
        reference_label: in the folder of images.
        truth: the image's true label, in the folder of :func:`truth_folder`.
    """

    group: str
    case: str
    image: str
    reference: str
    image_file: str
    reference_file: str
    reference_label: str
    truth: str


def truth_folder(studies: Path) -> Path:
    """The folder beside the images that holds the true labels."""
    return studies.resolve().with_name(f"{studies.resolve().name}_truth")


def read_pairs(studies: Path) -> list[LabelPair]:
    """The pairs of a folder that :func:`prepare_studies` has made.

    Raises:
        FileNotFoundError: when there is no list of them.
    """
    path = truth_folder(studies) / PAIRS
    if not path.is_file():
        raise FileNotFoundError(f"studies {studies} has no {path} beside it; expected a folder that 'prepare' has made")
    return [LabelPair(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]


def prepare_studies(
    studies: Path, *, acdc: Path | None = None, nuclei: Path | None = None, patients: int = 6, slices: bool = False
) -> list[LabelPair]:
    """Writes images, the labels of references, and the true labels of the others.

    Hearts: end diastole and end systole of the last patients as NIfTI volumes, end diastole labelled. Nuclei: a frame
    in the middle of a film, labelled, and those around it, as TIFF.

    Args:
        studies: the folder, new or empty.
        acdc: cardiac data, see :func:`~monai_cellreg.data.read_cardiac`.
        nuclei: films in the layout of the Cell Tracking Challenge, of which the first is taken.
        patients: how many of the last of ``acdc``, in the order of their names; no shipped network has seen the last 6.
        slices: write every slice of the hearts as an image of its own as well.

    Returns:
        The pairs.

    Raises:
        ValueError: when no data is named, there are fewer patients, or the film is too short.
        FileExistsError: when one of the folders holds something.
    """
    truth = truth_folder(studies)
    if acdc is None and nuclei is None:
        raise ValueError("acdc and nuclei are both None; expected one or both folders of data")
    for folder in (studies, truth):
        if folder.is_dir() and any(folder.iterdir()):
            raise FileExistsError(f"folder {folder} is not empty; expected a new one: choose another, or remove it")
    stacks = [] if acdc is None else held_out_slices(read_cardiac(acdc), patients)
    film = [] if nuclei is None else _labelled_film(nuclei)
    for folder in (studies / LABELS, truth):
        ensure_writable_dir(folder)
    pairs = [*_hearts(studies, truth, stacks, slices), *_nuclei(studies, truth, film)]
    write_json(truth / PAIRS, [asdict(pair) for pair in pairs])
    return pairs


def _hearts(studies: Path, truth: Path, stacks: Sequence[CineSlice], each_slice: bool) -> Iterator[LabelPair]:
    for patient, group in groupby(stacks, key=lambda one: one.patient):
        found = list(group)
        in_plane = tuple(reversed(found[0].grid.spacing)) if found[0].grid.unit == "mm" else SPACING_MM[:2]
        phases = [_phase(found, end) for end in ("ed", "es")]
        yield _written(studies, truth, (HEARTS, patient, patient), phases, (*in_plane, SPACING_MM[2]))
        for k, one in enumerate(found if each_slice else []):
            at = [(image[k], label[k]) for image, label in phases]
            if all((label > 0).sum() >= LEAST_PIXELS for _, label in at):
                name = f"{patient}_slice{one.slice_number:02d}"
                yield _written(studies, truth, (SLICES, patient, name), at, in_plane)


def _phase(stack: Sequence[CineSlice], end: str) -> tuple[np.ndarray, np.ndarray]:
    """Image and label of a time point, (Z, H, W) each."""
    times = [getattr(one, end) for one in stack]
    image = torch.stack([one.images[time] for one, time in zip(stack, times, strict=True)])
    label = torch.stack([one.labels[time] for one, time in zip(stack, times, strict=True)])
    return image.numpy(), label.numpy()


def _written(
    studies: Path,
    truth: Path,
    names: tuple[str, str, str],
    phases: Sequence[tuple[np.ndarray, np.ndarray]],
    spacing_mm: Sequence[float],
) -> LabelPair:
    """Writes both phases; `names` are group, case and the stem of both files."""
    group, case, stem = names
    reference, image = (f"{stem}_{end}" for end in ("ed", "es"))
    file = "{}.nii.gz".format
    pair = LabelPair(
        *(group, case, image, reference, file(image), file(reference), str(LABELS / file(reference)), file(image))
    )
    (at_ed, ed_label), (at_es, es_label) = phases
    for path, array in (
        (studies / pair.reference_file, at_ed),
        (studies / pair.reference_label, ed_label),
        (studies / pair.image_file, at_es),
        (truth / pair.truth, es_label),
    ):
        content = sitk.GetImageFromArray(array)
        content.SetSpacing([float(length) for length in spacing_mm])
        sitk.WriteImage(content, str(path), True)
    return pair


def _labelled_film(films: Path) -> list[dict[str, Any]]:
    """The frames in the middle of the first film; see :func:`~monai_cellreg.data.datasets.cell_tracking.list_items`."""
    found = [item for item in list_items(films) if item["label"] is not None and item["page"] is None]
    film = [item for item in found if item["group"] == found[0]["group"]]
    if len(film) <= FRAMES:
        raise ValueError(
            f"nuclei {films} has a film of {len(film)} labelled frames; expected {FRAMES + 1} or more as 01/t000.tif "
            "and 01_label/man_seg000.tif"
        )
    return film[len(film) // 2 - FRAMES // 2 :][: FRAMES + 1]


def _nuclei(studies: Path, truth: Path, film: Sequence[dict[str, Any]]) -> Iterator[LabelPair]:
    reference = Path(film[len(film) // 2]["image"]) if film else None
    for item in film:
        image = Path(item["image"])
        shutil.copyfile(image, studies / image.name)
        shutil.copyfile(item["label"], (studies / LABELS if image == reference else truth) / image.name)
        if reference is not None and image != reference:
            yield LabelPair(
                *(NUCLEI, image.stem, image.stem, reference.stem, image.name, reference.name),
                *(str(LABELS / reference.name), image.name),
            )
