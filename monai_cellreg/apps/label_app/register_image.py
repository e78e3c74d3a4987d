"""The model ``register``: a reference, warped onto an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferType

from ...data.writers import as_type
from ...utils import plain
from .itk_files import ItkMap, itk_order
from .refusals import refused
from .registrations import Registrations
from .results import Answer, Clock, facts, image_suffix, write_volume
from .task import RegistrationTask

__all__ = ["RegisterImage"]


class RegisterImage(RegistrationTask):
    """The reference on the voxels of the image, in its own number type and colours."""

    def __init__(self, datastore: Datastore, registrations: Registrations) -> None:
        super().__init__(datastore, registrations, InferType.OTHERS, "The reference, warped onto the image")

    def __call__(self, request: Mapping[str, Any]) -> Answer:
        """An image; ``result_extension`` and ``result_compress`` as for labels."""
        clock = Clock()
        pair, registration = self.registered(request, clock)
        warped, moving = registration.warped, registration.pair.moving
        with refused(pair.names):
            suffix = image_suffix(request, pair.fixed)
            stored = np.dtype(moving.meta["source_dtype"])  # type: ignore[attr-defined]  # it was read from a file
            array = itk_order(as_type(plain(warped).numpy(), stored), registration.pair.fixed_grid.frame)
            place = ItkMap(registration, pair.fixed, pair.moving).fixed
            compress = bool(request.get("result_compress", True))
            path = write_volume(pair.fixed, array, place, suffix, compress=compress)
        clock.lap("write")
        return str(path), facts(registration, pair.reference_id, clock)
