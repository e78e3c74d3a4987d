"""The MONAI Label app: registration of the images of a datastore."""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.batch_infer import BatchInferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.activelearning.first import First
from monailabel.tasks.activelearning.random import Random

from ... import __version__
from ...utils import check_choice
from .batch import RegistrationBatch, check_images
from .datastore import CheckedDatastore
from .itk_maps import DisplacementField, TransformFile
from .parameters import check_spelling, is_on
from .propagate_frames import PropagateFrames
from .propagate_labels import PropagateLabels
from .register_image import RegisterImage
from .registrations import Registrations
from .scoring import PropagationScoring
from .strategy import WorstPropagated
from .task import RegistrationTask
from .trained import BUNDLES
from .training import TrainBundle

__all__ = ["EXTENSIONS", "RegistrationApp", "image_patterns"]

EXTENSIONS = (
    *("*.nii.gz", "*.nii", "*.nrrd", "*.mha", "*.png", "*.jpg", "*.jpeg"),
    *("*.tif", "*.tiff", "*.ome.tif", "*.ome.tiff"),  # MONAI Label takes the last one that fits
)
"""Files of a folder that are its images, unless MONAI Label's setting says otherwise."""

UPLOADED = re.compile(r"tmp[a-z0-9_]{8}(\..*)?")
"""Names that Python gives temporary files: no client guesses that of another one's upload."""


def image_patterns() -> Sequence[str]:
    """Patterns of the files that are images: those of MONAI Label's setting, or all that we read."""
    is_set = "MONAI_LABEL_DATASTORE_FILE_EXT" in settings.model_fields_set
    return settings.MONAI_LABEL_DATASTORE_FILE_EXT if is_set else EXTENSIONS


class RegistrationApp(MONAILabelApp):
    """Models that register images of a datastore with a reference among them, and what belongs to them.

    Args:
        app_dir: work folder, with ``main.py``; trained weights lie in its ``model``.
        studies: folder of the images.
        conf: settings of MONAI Label's command line.
    """

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, str] | None) -> None:
        self.registrations = Registrations(app_dir)
        super().__init__(
            app_dir,
            studies,
            dict(conf or {}),
            name="monai_cellreg",
            description="Image registration: labels of one image, frame or slice carried to the others",
            version=__version__,
        )

    def init_datastore(self) -> Datastore:
        """A folder of images of all the formats that we read; other datastores as MONAI Label makes them."""
        if self.studies.startswith(("http://", "https://")):
            return super().init_datastore()
        return CheckedDatastore(
            self.studies,
            extensions=image_patterns(),
            auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
        )

    def init_infers(self) -> dict[str, RegistrationTask]:
        """The models, by name."""
        given = self.datastore(), self.registrations
        return {
            "propagate_labels": PropagateLabels(*given),
            "propagate_frames": PropagateFrames(*given),
            "register": RegisterImage(*given),
            "displacement": DisplacementField(*given),
            "transform": TransformFile(*given),
        }

    def init_trainers(self) -> dict[str, TrainTask]:
        """Trainings of our bundles, by the name of the bundle."""
        return {bundle: TrainBundle(self.app_dir, bundle) for bundle in BUNDLES}

    def init_strategies(self) -> dict[str, Strategy]:
        """Ways to choose the image to be annotated next."""
        return {"worst_propagated": WorstPropagated(), "first": First(), "random": Random()}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """Scores of images, on which the choice rests."""
        return {"propagation": PropagationScoring(self.registrations)}

    def init_batch_infer(self) -> BatchInferTask:
        """Inference of many images."""
        return RegistrationBatch()

    def infer(self, request: Mapping[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Answers a request.

        Args:
            request: ``model``, ``image`` and the parameters of the model; with ``save_label`` the answer becomes a
                label of the image with the tag ``label_tag`` (``original`` when omitted).
            datastore: with the images; the app's own when omitted.

        Returns:
            ``label`` (id of the label that was saved, else path of the file), ``tag``, ``file`` and ``params``.

        Raises:
            HTTPException: 4xx with a reason, for a request that cannot be answered.
        """
        store, asked = datastore or self.datastore(), copy.deepcopy(dict(request))
        task, image = self._task(asked), asked.get("image")
        check_spelling(asked)
        is_saved = is_on(asked, "save_label")
        if isinstance(image, str) and self._was_uploaded(image, asked):
            asked["image"] = Path(image)
        path, told = task(asked)
        tag = asked.get("label_tag") or DefaultLabelTag.ORIGINAL.value
        label = path
        if is_saved and not isinstance(asked["image"], Path):
            try:
                label = store.save_label(image, path, tag, {"model": asked["model"], "params": told})
            except BaseException:
                Path(path).unlink(missing_ok=True)
                raise
        return {"label": label, "tag": tag, "file": path, "params": told}

    def batch_infer(self, request: Mapping[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Answers a request for many images; see :class:`~.batch.RegistrationBatch`.

        Raises:
            HTTPException: 4xx with a reason, for a request that can be answered for no image.
        """
        self.check_batch(request)
        return super().batch_infer(request, datastore)

    def check_batch(self, request: Mapping[str, Any]) -> None:
        """Checks a request for many images, which MONAI Label else carries out in the background, where no one looks.

        Args:
            request: ``model`` and the parameters.

        Raises:
            HTTPException: 4xx with a reason, for a request that can be answered for no image.
        """
        task = self._task(request)
        check_spelling(request)
        is_on(request, "save_label")  # labels are saved either way, as by MONAI Label's own batches
        check_images(request)
        task.check(request)

    def check_training(self, bundle: str, request: Mapping[str, Any]) -> None:
        """Checks what a training is asked for, before it starts in the background.

        Raises:
            HTTPException: 422 with a reason: options, or too few images or labels.
        """
        trainer = self._trainers[bundle]
        trainer.check_images(trainer.check(request), self.datastore())

    def next_sample(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The image to be annotated next; scores are renewed in the background for the question after this one."""
        found = super().next_sample(request)
        if request.get("strategy") == "worst_propagated" and self._server_mode:
            self.async_scoring("propagation")
        return found

    def _task(self, request: Mapping[str, Any]) -> RegistrationTask:
        """The model that a request asks for.

        Raises:
            HTTPException: 404 for an unknown one.
        """
        model = request.get("model")
        try:
            check_choice("model", model, self._infers)
        except ValueError as error:
            raise HTTPException(404, str(error)) from error
        return self._infers[model]

    def _was_uploaded(self, image: str, request: Mapping[str, Any]) -> bool:
        """Whether a path leads to what a client has sent, in this request or for its session."""
        path = Path(image)
        if path.parent == Path(tempfile.gettempdir()) and UPLOADED.fullmatch(path.name):
            return path.is_file()
        told, sessions = request.get("session"), self.sessions()
        name = told.get("name") if isinstance(told, dict) else None
        session = sessions.get(name) if sessions is not None and isinstance(name, str) else None
        return session is not None and session.image == image
