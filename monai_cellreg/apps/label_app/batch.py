"""The same inference for many images of the datastore."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.batch_infer import BatchInferImageType, BatchInferTask
from monailabel.utils.others.generic import remove_file

from ...utils import check_choice
from .natural_order import natural_order
from .refusals import refused

__all__ = ["RegistrationBatch", "check_images"]

logger = logging.getLogger(__name__)

Infer = Callable[[dict[str, Any], Datastore], dict[str, Any]]


class RegistrationBatch(BatchInferTask):
    """Brings one reference onto many images; what is found of each is saved as its label.

    Registrations run on the processor, whatever device the request names. The reference itself is left out. An image
    that cannot be used does not end the batch: the result says which, and why.
    """

    def get_images(self, request: Mapping[str, Any], datastore: Datastore) -> list[str]:
        """The images that a request means, without the reference.

        Raises:
            HTTPException: 422 when it is not clear which.
        """
        check_images(request)
        images = super().get_images(request, datastore)
        return sorted(set(images) - {request.get("reference")}, key=natural_order)

    def __call__(self, request: Mapping[str, Any], datastore: Datastore, infer: Infer) -> dict[str, Any]:
        """Answers for all images.

        Args:
            request: of one image, without it; ``images`` (``"all"``, ``"labeled"``, ``"unlabeled"`` or a list of ids),
                ``max_batch_size`` (0 for no limit), ``max_workers`` (threads, 1 when omitted) and ``label_tag``
                (``original`` when omitted).
            datastore: with the images.
            infer: answers for one.

        Returns:
            By image, what ``infer`` gives without its ``file``, or ``{"error": reason}``.
        """
        images = self.get_images(request, datastore)
        images = images[: int(request.get("max_batch_size") or len(images))]
        tag = request.get("label_tag") or DefaultLabelTag.ORIGINAL.value
        common = {**request, "save_label": True, "label_tag": tag, "device": "cpu"}
        progress = _Progress(len(images))

        def one(image: str) -> dict[str, Any]:
            answer = _answered(infer, {**common, "image": image}, datastore)
            progress.done(image, answer)
            return answer

        workers = max(1, int(request.get("max_workers") or 1))
        with ThreadPoolExecutor(workers, thread_name_prefix="batch") as pool:
            return dict(zip(images, pool.map(one, images), strict=True))


def check_images(request: Mapping[str, Any]) -> None:
    """Checks which images a batch is for: MONAI Label takes any word that it does not know for all of them.

    Raises:
        HTTPException: 422 unless ``images`` is left out, one of the words or a list of ids.
    """
    images = request.get("images", BatchInferImageType.IMAGES_ALL)
    if isinstance(images, list) and all(isinstance(image, str) for image in images):
        return
    with refused({}):
        check_choice("images", images, [kind.value for kind in BatchInferImageType])


class _Progress:
    """Tells the log how far the batch has come."""

    def __init__(self, total: int) -> None:
        self.total, self.count, self.start, self.lock = total, 0, time.monotonic(), Lock()
        logger.info("batch of %d images", total)

    def done(self, image: str, answer: Mapping[str, Any]) -> None:
        with self.lock:
            self.count += 1
            seconds = time.monotonic() - self.start
            logger.info(
                "%d of %d images after %.0f s: %s %s",
                self.count,
                self.total,
                seconds,
                image,
                f"failed: {answer['error']}" if "error" in answer else "done",
            )


def _answered(infer: Infer, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
    """What is found of one image, or why nothing."""
    try:
        answer = infer(request, datastore)
    except HTTPException as refusal:
        return {"error": refusal.detail}
    except Exception as error:  # one image's trouble, whatever it is, must not cost the others theirs
        logger.exception("image %r failed", request["image"])
        return {"error": f"{type(error).__name__}: {error}"}
    remove_file(answer.pop("file", None))
    return answer
