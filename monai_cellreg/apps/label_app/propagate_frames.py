"""The model ``propagate_frames``: labels of one or some frames of a film, or slices of a volume, on all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastapi import HTTPException
from monai.data import MetaTensor
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferType

from ...data import write_ome_tiff
from ...geometry import SamplingGrid
from ...inferers.frame import TRUSTED
from ...methods import Method, register_sequence
from ...report import Verdict
from ...utils import plain
from .frames import Span, annotated, frame_labels, open_frames
from .itk_files import ItkPlace, itk_order, tensor_order
from .labels import TAGS, label_file, label_names
from .pairs import image_file, read_method
from .propagate_labels import names_in, names_of_all
from .refusals import refused
from .registrations import Registrations
from .results import (
    SCANNER_SUFFIXES,
    Answer,
    Clock,
    asked_suffix,
    finite,
    picture_grid,
    temporary_file,
    verdict_told,
    whole_type,
    write_scanner,
)
from .task import RegistrationTask

__all__ = ["PropagateFrames"]

SUFFIXES = (*SCANNER_SUFFIXES, ".ome.tif", ".ome.tiff")


class PropagateFrames(RegistrationTask):
    """Labels of an image's own frames, carried to its other frames; each takes those of the nearest annotated one.

    The image is a film, in 2D or 3D, or a volume, of which the slices along the last axis x, y, z are registered.
    """

    needs_reference = False

    def __init__(self, datastore: Datastore, registrations: Registrations) -> None:
        about = "Labels of one or some frames (or slices) of the image, carried to all others"
        super().__init__(datastore, registrations, InferType.SEGMENTATION, about)

    def label_names(self) -> dict[str, int]:
        """Names of the labels of all labelled images."""
        return names_of_all(self.datastore)

    def __call__(self, request: Mapping[str, Any]) -> Answer:
        """Labels of all frames.

        Args:
            request: ``image``; optionally ``method``, ``reference_tag`` of its label, and the form of the result as for
                ``propagate_labels``; of films it is ``.ome.tif`` unless given.
        """
        clock = Clock()
        image, path = image_file(request, self.datastore)
        method = read_method(request, self.registrations.methods())
        label, tag = self._label(request, image)
        with refused({path: image, label: f"label of {image}"}), open_frames(path) as frames:
            is_film = SamplingGrid.from_image(frames[0]).frame == "index"
            suffix = asked_suffix(request, SUFFIXES, ".ome.tif" if is_film else ".nii.gz")
            names = label_names(self.datastore, image, tag)
            labels = frame_labels(label, frames)
            clock.lap("pre")
            carried, told = carried_labels(frames, labels, self.registrations.method(method))
            clock.lap("infer")
            dtype, note = whole_type(carried, request.get("result_dtype"))
            result = _written(carried.astype(dtype), path, frames[0], suffix, request)
        clock.lap("write")
        facts = {"label_names": names_in(carried, names), "method": method, **told, "latencies": clock.latencies}
        return str(result), {**facts, **({"note": note} if note else {})}

    def _label(self, request: Mapping[str, Any], image: str) -> tuple[Path, str]:
        """The label of the image, and its tag.

        Raises:
            HTTPException: 404 when there is none.
        """
        tag = str(request.get("reference_tag") or "")
        found = None if isinstance(request["image"], Path) else label_file(self.datastore, image, tag)
        if found is None:
            raise HTTPException(
                404,
                f"image {image!r} has no label with the tag {' or '.join([tag] if tag else TAGS)}; expected one that "
                "marks one frame or more. Annotate a frame and save the label first",
            )
        return found


def carried_labels(
    frames: Sequence[MetaTensor], labels: np.ndarray, method: str | Method
) -> tuple[np.ndarray, dict[str, Any]]:
    """Labels of all frames, each registered to the annotated frame that is nearest to it.

    Args:
        frames: (C, *spatial) each.
        labels: those of :func:`~.frames.frame_labels`.
        method: as :func:`monai_cellreg.register_sequence` takes it.

    Returns:
        Labels in the form of those given, and what is told: the annotated frames as ``reference``, ``metrics`` by
        frame, the ``verdict``, and as ``account`` which frames could not be registered from their own content.
    """
    grid, filled = SamplingGrid.from_image(frames[0]), labels.copy()
    spans, rows, verdicts = annotated(labels), [], []
    for reference, span in spans.items():
        if len(span) == 1:
            continue
        here = reference - span.start
        part = frames if len(span) == len(frames) else Span(frames, span.start, span.stop)
        result = register_sequence(part, method=method, reference=here, progress=False)
        marked = grid.to_image(torch.from_numpy(tensor_order(labels[reference], grid.frame).copy()))
        for t, found in zip(span, result.propagate(marked, frame=here), strict=True):
            filled[t] = itk_order(plain(found).numpy(), grid.frame)
        for t, row in zip(span, result.metrics, strict=True):
            rows.append(finite({**row, "frame": t, "reference": reference}))
        verdicts.append(result.verdict)
    return filled, {
        "reference": list(spans),
        "metrics": {"per_frame": rows},
        "verdict": verdict_told(verdicts or [Verdict("good", ("Every frame is annotated.",))]),
        "account": [
            f"Frame {row['frame']} could not be registered ({row['flag']}); its labels are those of its neighbour."
            for row in rows
            if row["flag"] not in TRUSTED
        ],
    }


def _written(labels: np.ndarray, image: Path, first: MetaTensor, suffix: str, request: Mapping[str, Any]) -> Path:
    """A temporary file of labels (T, (z,) y, x): where ITK sees the image, or a film with its pixel size."""
    if suffix in SCANNER_SUFFIXES:
        place = ItkPlace.of(image, ItkPlace(labels.shape[::-1], np.eye(labels.ndim + 1)))
        return write_scanner(place.image(labels), suffix, compress=bool(request.get("result_compress", True)))
    like = MetaTensor(plain(first), meta={**first.meta, "source_dtype": str(labels.dtype)})
    with temporary_file(suffix) as path:
        grid = picture_grid(first)
        pages = (grid.to_image(torch.from_numpy(page[None].astype("int32"))) for page in labels)
        write_ome_tiff(path, pages, count=len(labels), like=like)
        return path
