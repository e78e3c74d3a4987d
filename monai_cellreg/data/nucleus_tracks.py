"""Nuclei followed through the films of a labelled folder, each cut out as a film of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..transforms.nuclei import CropSettings, crop_track, whole_nuclei
from ..utils import plain
from .datasets import cell_tracking
from .listing import list_items, load_item
from .readers import ImageReadError, read_label

__all__ = ["TRACK_CROPS", "NucleusTrack", "nucleus_tracks", "number_by_markers"]

TRACK_CROPS = CropSettings(max_nuclei=None)
"""Every nucleus that lies whole in the view, its neighbours painted out."""


@dataclass(frozen=True)
class NucleusTrack:
    """One nucleus and the time points at which it can be cut out.

    Args:
        group: name of its film, such as ``"01"``.
        number: of its track, or its instance number where the film has no tracking labels.
        items: the time points in their order, as :func:`~monai_cellreg.data.list_items` gives them, and ``"markers"``:
            path of the tracking label, or None.
        settings: of the crops.
    """

    group: str
    number: int
    items: tuple[Mapping[str, Any], ...]
    settings: CropSettings = TRACK_CROPS

    @property
    def name(self) -> str:
        """Film and number, in words."""
        return f"{self.group} nucleus {self.number}"

    def frames(self, size: int) -> tuple[Tensor, Tensor]:
        """The nucleus at all of its time points, cut as :func:`~monai_cellreg.transforms.nuclei.crop_track` does.

        Args:
            size: side of the square frames in pixels.

        Returns:
            Images (T, 1, size, size) in [0, 1] and labels (T, 1, size, size), 0 or 1, both float32.

        Raises:
            ImageReadError: when a file cannot be used.
        """
        fields = []
        for item in self.items:
            image, label = load_item(item)
            assert label is not None  # a track is made of labels
            fields.append((plain(image), _tracked(plain(label), item)[0]))
        seed = crc32(self.name.encode())
        frames = crop_track(fields, self.number, size, settings=self.settings, seed=seed)
        return torch.stack([plain(f["image"]) for f in frames]), torch.stack([plain(f["label"]) for f in frames])


def nucleus_tracks(
    dataset_dir: str | PathLike[str],
    *,
    least_frames: int = 3,
    most_frames: int | None = None,
    settings: CropSettings = TRACK_CROPS,
) -> list[NucleusTrack]:
    """Every nucleus of a folder that can be followed over several time points and lies whole in the view there.

    In a film with tracking labels (``01_GT/TRA``) a nucleus has the number of its marker (:func:`number_by_markers`),
    and time points without such a label are passed over. In other films it is known by its instance number, which has
    to be constant over time. Passed over as well are time points without segmentation, and those where the nucleus is
    cut by the border.

    Args:
        dataset_dir: folder in the layout of the Cell Tracking Challenge (see
            :mod:`monai_cellreg.data.datasets.cell_tracking`).
        least_frames: nuclei with fewer time points are left out.
        most_frames: only the first so many time points of each nucleus; ``None`` for all.
        settings: choice and look of the nuclei.

    Returns:
        The tracks, by film and number.

    Raises:
        FileNotFoundError: when the folder does not exist.
        ValueError: for another layout, volumes, limits that leave nothing, or when no nucleus stays.
        ImageReadError: when a label cannot be read, or tracking labels have another size than the segmentation.
    """
    if least_frames < 2 or (most_frames is not None and most_frames < least_frames):
        raise ValueError(
            f"least_frames is {least_frames} and most_frames is {most_frames}; expected at least 2, the first frame "
            "and a later one, and no fewer at most than at least"
        )
    items = list_items(dataset_dir)
    if not cell_tracking.is_cell_tracking(dataset_dir):
        raise ValueError(
            f"dataset_dir {str(dataset_dir)!r} has no numbered film; expected the layout of the Cell Tracking "
            "Challenge (01/t000.tif ..., labels 01_label/man_seg000.tif, 01_GT/SEG/ or 01_GT/TRA/)"
        )
    found: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for item in _with_markers(items, cell_tracking.tracking_labels(dataset_dir)):
        label = plain(read_label(item["label"], page=item["page"]))
        if label.ndim != 3 or item["page"] is not None:
            raise ValueError(f"image {item['image']!r} is a volume or has several pages; expected a plane (H, W)")
        label, numbers = _tracked(label, item)
        for number in numbers.intersection(whole_nuclei(label, settings)):
            found.setdefault((item["group"], number), []).append(item)
    tracks = [
        NucleusTrack(group, number, tuple(times[:most_frames]), settings)
        for (group, number), times in sorted(found.items())
        if len(times) >= least_frames
    ]
    if not tracks:
        raise ValueError(
            f"dataset_dir {str(dataset_dir)!r} has no nucleus of one number that lies whole in {least_frames} labelled "
            f"time points; {len(found)} numbers were seen. Give tracking labels (01_GT/TRA) or constant numbers, and a "
            "segmentation of more time points (01_ST/SEG)"
        )
    return tracks


def number_by_markers(segments: Tensor, markers: Tensor) -> tuple[Tensor, set[int]]:
    """Gives segments the numbers of the tracking markers that lie in them.

    A marker lies in the segment that covers more than half of it, as in the challenge's own measures. A segment with
    several markers gets the number of the one that it covers most of, one with none a number that no marker has.

    Args:
        segments: whole numbers of any shape, 0 for background.
        markers: likewise, of that shape.

    Returns:
        The segments under their new numbers, int32, and those that are numbers of markers.

    Example:
        >>> number_by_markers(torch.tensor([5, 5, 5, 0, 2, 2]), torch.tensor([0, 7, 0, 0, 0, 0]))
        (tensor([7, 7, 7, 0, 9, 9], dtype=torch.int32), {7})

    References:
        Matula et al. 2015, PLoS ONE 10:e0144959.
    """
    inside, seen = segments.numpy().astype(np.int64), markers.numpy().astype(np.int64)
    new: NDArray[np.int64] = np.arange(inside.max() + 1) + seen.max()  # clear of all markers
    new[0] = 0
    both = (inside > 0) & (seen > 0)
    met, pixels = np.unique(seen[both] * len(new) + inside[both], return_counts=True)
    whole = np.bincount(seen.ravel())
    owners: dict[int, int] = {}
    for k in np.argsort(pixels, kind="stable"):  # the marker that is covered most comes last, and stays
        marker, segment = divmod(int(met[k]), len(new))
        if 2 * pixels[k] > whole[marker]:
            owners[segment] = new[segment] = marker
    return torch.from_numpy(new[inside].astype(np.int32)), set(owners.values())


def _with_markers(
    items: list[dict[str, Any]], tracking: Mapping[str, Mapping[str, str]]
) -> Iterator[Mapping[str, Any]]:
    """The time points that have labels and, in films with tracking labels, such ones."""
    for item in items:
        markers = tracking.get(item["group"], {}).get(item["image"])
        if item["label"] is not None and (markers is not None or item["group"] not in tracking):
            yield {**item, "markers": markers}


def _tracked(label: Tensor, item: Mapping[str, Any]) -> tuple[Tensor, set[int]]:
    """The label of a time point, and those of its numbers that stand for the same nucleus at all time points."""
    if item["markers"] is None:
        return label, set(label.unique().tolist())
    markers = plain(read_label(item["markers"]))
    if markers.shape != label.shape:
        raise ImageReadError(
            f"tracking label {item['markers']!r} has the size {tuple(markers.shape[1:])} but the segmentation "
            f"{item['label']!r} has {tuple(label.shape[1:])}; expected equal sizes"
        )
    return number_by_markers(label, markers)
