"""Training and fine-tuning of the bundles on the datastore."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from filelock import FileLock, Timeout
from monai.bundle import ConfigParser
from monai.utils import set_determinism
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from ...engines import load_checkpoint, override, root_cause, save_checkpoint
from ...methods import bundle_dir, run_bundle
from ...methods.bundles import bundle_files
from ...methods.json_files import write_json
from ...utils import ensure_writable_dir
from .refusals import refused
from .trained import SUFFIX, load_settings, weights_file
from .training_data import Collected, collect, fingerprint, stage
from .training_options import SCRATCH, SHIPPED, Asked, default_image_size, read_asked, shown_options
from .training_progress import TrainingRecord, read_record

__all__ = ["TrainBundle"]

WHAT = {
    "joint": "segmentation and registration of nuclei, learned from images with instance labels",
    "segreg": "registration of segmented nuclei, learned from instance labels",
    "dirnet": "registration in a single pass, learned from images alone",
}
FEWEST = {"joint": 2, "segreg": 2, "dirnet": 4}  # images: one to train and one to validate, or a pair of each
ADVICE = {
    "joint": "Label more images, or set unlabelled to 'pseudo-labels' where each shows one nucleus",
    "segreg": "Label more images, or set unlabelled to 'pseudo-labels' where each shows one nucleus",
    "dirnet": "Add images, or choose the image_size of the others",
}
VALIDATED = 0.2  # share of dirnet's images that choose the best weights


@dataclass(frozen=True)
class _Plan:
    """What a bundle is told.

    Args:
        overlays: configuration files beside ``train.json``.
        overrides: of the configuration, without folders.
        shape: those that using the weights needs.
    """

    overlays: list[str]
    overrides: dict[str, Any]
    shape: dict[str, Any]


class TrainBundle(TrainTask):
    """Trains a bundle on the datastore's images; the weights become the method ``<bundle>-trained``.

    Weights are replaced in one step when a training has come to its end: one that fails or is stopped leaves those
    that were there. What a stopped one has reached is kept, and the next with the same options and images goes on from
    it.

    Args:
        app_dir: the server's work folder; everything goes to its ``model/<bundle>/``.
        bundle: "joint", "segreg" or "dirnet".
    """

    def __init__(self, app_dir: str | os.PathLike[str], bundle: str) -> None:
        super().__init__(f"Trains the bundle {bundle} on the datastore: {WHAT[bundle]}")
        self.bundle = bundle
        self.weights = weights_file(app_dir, bundle)
        self.run_dir = self.weights.parent / "run"
        self.record = self.weights.parent / "training.json"

    def config(self) -> dict[str, Any]:
        """Options with their defaults, as clients show them."""
        return shown_options(self.bundle, trained_here=self.weights.is_file())

    def stats(self) -> dict[str, Any]:
        """Epochs and validation metrics of the last training, also while it runs; ``total_time`` when it is done."""
        return read_record(self.record)

    def check(self, request: Mapping[str, Any]) -> Asked:
        """What a request asks for.

        Raises:
            HTTPException: 422 for an unknown option, or a value that cannot be.
        """
        with refused({}):
            return read_asked(self.bundle, request, trained_here=self.weights.is_file())

    def check_images(self, asked: Asked, datastore: Datastore) -> None:
        """Checks that there is enough to train on.

        Raises:
            HTTPException: 422 for too few images or labels that can be used.
        """
        with refused({}):
            self._collected(asked, datastore)

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Trains, and gives the :meth:`stats`.

        Args:
            request: options by name, see :meth:`config`.
            datastore: where images, and labels with the tag ``final``, come from.

        Raises:
            HTTPException: 422 for options, images or labels that cannot be used; 409 while the bundle is being trained.
        """
        asked = self.check(request)
        ensure_writable_dir(self.weights.parent)
        try:
            with FileLock(self.weights.parent / ".lock", timeout=0), refused({}):
                for left in self.weights.parent.glob(".tmp-*"):  # by a training that was killed as it wrote
                    left.unlink()
                return self._train(asked, datastore)
        except Timeout as error:
            raise HTTPException(
                409, f"model {self.bundle!r} is being trained; wait for its end, or stop it first (DELETE /train)"
            ) from error

    def _train(self, asked: Asked, datastore: Datastore) -> dict[str, Any]:
        started = time.time()
        found = self._collected(asked, datastore)
        plan = self._plan(asked, found)
        data = self.run_dir / "data"
        shutil.rmtree(data, ignore_errors=True)
        with refused({**found.names, data: "datastore"}):
            stage(found.images, data)
            items = _dataset_length(self.bundle, plan, data)
        plan.overrides["batch_size"] = min(plan.overrides["batch_size"], items)
        resume = self._goes_on({**vars(plan), "data": fingerprint(found.images)})
        about = {
            "total_epochs": asked.numbers["max_epochs"],
            "key_metric": "registration_ncc" if self.bundle == "dirnet" else "registration_iou",
            "images": len(found.images),
            "labels": found.labels,
            "left_out": dict(found.left_out),
            "options": {**asked.numbers, **plan.shape, "batch_size": plan.overrides["batch_size"]},
            "start_from": asked.start_from,
        }
        record = TrainingRecord(self.record, about, resume=resume)
        folders = {"dataset_dir": str(data), "output_dir": str(self.run_dir), "resume": resume}
        try:
            with record.listening():
                run_bundle(self.bundle, plan.overlays, {**plan.overrides, **folders})
        except RuntimeError as error:
            raise root_cause(error) from error
        finally:
            set_determinism(None)  # which the bundle's last step, not reached after an error, does as well
        self._publish(plan)
        took = str(timedelta(seconds=round(time.time() - started)))
        record.finish({"total_time": took, "method": self.bundle + SUFFIX})
        return record.content

    def _collected(self, asked: Asked, datastore: Datastore) -> Collected:
        if self.bundle == "dirnet":
            dims = len(asked.image_size) if asked.image_size else None
            found = collect(datastore, dims=dims, with_labels=False)
        else:
            found = collect(datastore, dims=2, with_labels=True, with_unlabelled=asked.with_unlabelled)
        found.check_count(FEWEST[self.bundle], ADVICE[self.bundle])
        return found

    def _plan(self, asked: Asked, found: Collected) -> _Plan:
        overrides = asked.overrides()
        overlays, size = [], overrides.get("image_size")
        if self.bundle == "dirnet":
            size = list(asked.image_size or default_image_size([image.grid.shape for image in found.images]))
            overlays = ["train_brain.json"] if len(size) == 3 else []
            validated = max(2, round(VALIDATED * len(found.images)))
            overrides |= {"layout": "folder", "image_size": size, "validation_subjects": validated, "labels": []}
        overrides["initial_weights"] = self._start(asked.start_from, overlays, size)
        return _Plan(overlays, overrides, {"image_size": size})

    def _start(self, start_from: str, overlays: list[str], size: Any) -> str | None:
        """The weights to start from.

        Raises:
            ValueError: for those of an earlier training that do not fit.
        """
        if start_from == SCRATCH:
            return None
        if start_from == SHIPPED:
            return str(bundle_dir(self.bundle) / "models" / ("hippocampus.pt" if overlays else "model.pt"))
        earlier = load_settings(self.weights)
        trained_size = earlier["overrides"]["image_size"]
        fits = earlier["overlays"] == overlays if self.bundle == "dirnet" else trained_size == size
        if not fits:
            raise ValueError(
                f"start_from is {start_from!r} but that training had image_size {trained_size}, this one has {size}; "
                f"expected the same, or start_from {SCRATCH!r}"
            )
        return str(self.weights)

    def _goes_on(self, told: Mapping[str, Any]) -> bool:
        """Whether the folder of the run holds this very training, stopped; else the old one is removed."""
        path, told = self.run_dir / "told.json", json.loads(json.dumps(told))
        if (self.run_dir / "last.pt").is_file() and read_record(path) == told:
            return True
        for entry in self.run_dir.iterdir():
            if entry.is_file():
                entry.unlink()
            elif entry.name != "data":
                shutil.rmtree(entry)
        write_json(path, told)
        return False

    def _publish(self, plan: _Plan) -> None:
        best = self.run_dir / "model.pt"
        if not best.is_file():
            raise ValueError(
                f"the training of {self.bundle} gave no weights, as its validation was never a number; expected a "
                "finite one. Lower learning_rate"
            )
        settings = {"overlays": plan.overlays, "overrides": plan.shape}
        save_checkpoint(self.weights, {"network": load_checkpoint(best), "settings": settings})
        shutil.rmtree(self.run_dir)


def _dataset_length(bundle: str, plan: _Plan, data: Path) -> int:
    """How many items or pairs an epoch has; reads all that the bundle will read, so that what is wrong shows at once.

    Raises:
        ValueError: when images or labels cannot be used, or are too few for a part of the training.
    """
    parser = ConfigParser()
    parser.read_config(bundle_files(bundle, plan.overlays))
    override(parser, {**plan.overrides, "dataset_dir": str(data)})
    try:
        lengths = [len(parser.get_parsed_content(f"{part}::dataset")) for part in ("validate", "train")]
    except RuntimeError as error:
        raise root_cause(error) from error
    return lengths[1]
