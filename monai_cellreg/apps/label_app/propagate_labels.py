"""The model ``propagate_labels``: the labels of a reference on an image."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferType

from .itk_files import ItkMap
from .labels import label_names, labelled
from .refusals import refused
from .registrations import Registrations
from .results import Answer, Clock, facts, image_suffix, whole_type, write_volume
from .task import RegistrationTask

__all__ = ["PropagateLabels", "names_in", "names_of_all"]

logger = logging.getLogger(__name__)


class PropagateLabels(RegistrationTask):
    """Labels of a reference, read through the map at the nearest neighbour, on the voxels of the image."""

    needs_label = True

    def __init__(self, datastore: Datastore, registrations: Registrations) -> None:
        about = "Labels of a reference, carried to the image by registration"
        super().__init__(datastore, registrations, InferType.SEGMENTATION, about)

    def label_names(self) -> dict[str, int]:
        """Names of the labels of all references."""
        return names_of_all(self.datastore)

    def __call__(self, request: Mapping[str, Any]) -> Answer:
        """A label map; besides the keys of :func:`~.pairs.read_pair`: ``result_extension``, that of the image unless
        given, ``result_dtype``, the smallest that holds the labels unless given, and ``result_compress``.
        """
        clock = Clock()
        pair, registration = self.registered(request, clock)
        assert registration.pair.moving_label is not None  # needs_label
        with refused(pair.names):
            suffix = image_suffix(request, pair.fixed)
            between = ItkMap(registration, pair.fixed, pair.moving)
            labels = between.labels(registration.pair.moving_label)
            dtype, note = whole_type(labels, request.get("result_dtype"))
            compress = bool(request.get("result_compress", True))
            path = write_volume(pair.fixed, labels.astype(dtype), between.fixed, suffix, compress=compress)
        clock.lap("write")
        told = {"label_names": names_in(labels, pair.label_names), **facts(registration, pair.reference_id, clock)}
        return str(path), {**told, **({"note": note} if note else {})}


def names_in(labels: np.ndarray, names: Mapping[str, int]) -> dict[str, int]:
    """Names of the labels that occur and, up to 255, of the numbers between: 3D Slicer takes the n-th for label n."""
    occurring = set(np.unique(labels).tolist()) - {0}
    by_value = {value: name for name, value in names.items()}
    named = occurring | set(range(1, min(max(occurring, default=0), 256)))
    return {by_value.get(value, f"label {value}"): value for value in sorted(named)}


def names_of_all(datastore: Datastore) -> dict[str, int]:
    """Names of the labels of all labelled images, by value; a label that cannot be read is left out, and logged."""
    found: dict[str, int] = {}
    for image, tag in labelled(datastore).items():
        try:
            found = {**label_names(datastore, image, tag), **found}
        except (ValueError, OSError) as error:
            logger.warning("label %r of image %r is left out: %s", tag, image, error)
    return dict(sorted(found.items(), key=lambda item: item[1]))
