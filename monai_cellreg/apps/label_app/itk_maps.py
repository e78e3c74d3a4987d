"""The models ``transform`` and ``displacement``: the map from an image to a reference, for ITK's programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import SimpleITK as sitk
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferType

from .itk_files import ItkMap
from .refusals import refused
from .registrations import Registrations
from .results import SCANNER_SUFFIXES, Answer, Clock, asked_suffix, facts, temporary_file
from .task import RegistrationTask

__all__ = ["DisplacementField", "TransformFile"]

TRANSFORM_SUFFIXES = (".h5", ".tfm", ".txt")


class TransformFile(RegistrationTask):
    """A transform with which ``SimpleITK.Resample(label, image, transform)`` gives what ``propagate_labels`` answers.

    Convention: it takes physical points of the image to physical points of the reference, each as ITK reads its file.
    """

    def __init__(self, datastore: Datastore, registrations: Registrations) -> None:
        about = "The map from the image to the reference, as ITK, SimpleITK and 3D Slicer read it"
        super().__init__(datastore, registrations, InferType.OTHERS, about)

    def __call__(self, request: Mapping[str, Any]) -> Answer:
        """An ITK transform; ``result_extension`` is ``.h5`` unless given, or ``.tfm`` or ``.txt``."""
        clock = Clock()
        pair, registration = self.registered(request, clock)
        with refused(pair.names):
            suffix = asked_suffix(request, TRANSFORM_SUFFIXES, ".h5")
            transform = ItkMap(registration, pair.fixed, pair.moving).transform()
            with temporary_file(suffix) as path:
                sitk.WriteTransform(transform, str(path))
        clock.lap("write")
        return str(path), facts(registration, pair.reference_id, clock)


class DisplacementField(RegistrationTask):
    """The displacements of the map at the voxels of the image, as an image of vectors; see :class:`TransformFile`."""

    def __init__(self, datastore: Datastore, registrations: Registrations) -> None:
        about = "Displacements from the image to the reference, at the voxels of the image"
        super().__init__(datastore, registrations, InferType.OTHERS, about)

    def __call__(self, request: Mapping[str, Any]) -> Answer:
        """A field of float64; ``result_extension`` is ``.nii.gz`` unless given, or another of a format of scanners."""
        clock = Clock()
        pair, registration = self.registered(request, clock)
        with refused(pair.names):
            suffix = asked_suffix(request, SCANNER_SUFFIXES, ".nii.gz")
            field = ItkMap(registration, pair.fixed, pair.moving).field()
            with temporary_file(suffix) as path:
                sitk.WriteImage(field, str(path), useCompression=bool(request.get("result_compress", True)))
        clock.lap("write")
        return str(path), facts(registration, pair.reference_id, clock)
