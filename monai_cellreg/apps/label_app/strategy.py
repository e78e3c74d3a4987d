"""Which image is to be annotated next."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy
from torch import Tensor

from .labels import TAGS, label_file
from .natural_order import natural_order
from .refusals import FAILURES
from .round_trip import alikeness, read_small, thumbnail
from .scoring import INFO

__all__ = ["WorstPropagated"]

logger = logging.getLogger(__name__)

HANDED_OUT_S = 3600  # for so long an image counts as being annotated
MOST_FILES, MOST_BYTES = 64, 2**28  # that are read to find the most central image


class WorstPropagated(Strategy):
    """The unlabelled image that labels of the others fit worst, by the scores of :class:`~.scoring.PropagationScoring`.

    Images without a score follow those with one, the farthest from all labelled images first, in the natural order of
    ids. Images that were handed out within the last hour come last, the longest ago first, so that several annotators
    get different ones and no one gets a skipped one again at once.

    While nothing is labelled, there are no scores: the first is the most central image, whose thumbnail correlates best
    with all others on average, or, of more than 64 files or 256 MB, the one in the middle of the natural order.
    """

    def __init__(self) -> None:
        super().__init__("The image that the labels of the others fit worst")

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """Chooses an image.

        Args:
            request: ``strategy``, the name under which images are known to have been handed out.
            datastore: of the images.

        Returns:
            ``id``, ``rule`` (why it was chosen), ``score`` and ``reference``, which is proposed for it; None when all
            images are labelled.
        """
        datastore.refresh()  # scores come from another process
        images = sorted(datastore.get_unlabeled_images(), key=natural_order)
        if not images:
            return None
        labelled = {k for k in datastore.list_images() if label_file(datastore, k, TAGS[0])}
        if labelled:
            return _worst(images, labelled, datastore)
        fresh = [image_id for image_id in images if not _handed_out(datastore.get_image_info(image_id))] or images
        return {**_first_reference(fresh, datastore), "score": None, "reference": None}


def _worst(images: Sequence[str], labelled: Collection[str], datastore: Datastore) -> dict[str, Any]:
    """The choice where something is labelled; ``images`` are in natural order."""
    places = {k: place for place, k in enumerate(sorted({*images, *labelled}, key=natural_order))}
    choices = []
    for image_id in images:
        info = datastore.get_image_info(image_id)
        known = info.get(INFO, {})
        score, reference = known.get("score"), known.get("reference")
        if score is None or reference not in labelled:  # whose label was removed
            score, reference = None, None
        away = min(abs(places[image_id] - places[other]) for other in labelled)
        handed_out = _handed_out(info)
        rule = "no score yet, farthest from labelled images" if score is None else "lowest score"
        rule = "handed out longest ago" if handed_out else rule
        order = (handed_out, score is None, -away if score is None else score)
        choices.append((order, {"id": image_id, "rule": rule, "score": score, "reference": reference}))
    return min(choices, key=lambda choice: choice[0])[1]


def _first_reference(images: Sequence[str], datastore: Datastore) -> dict[str, Any]:
    """The choice while nothing is labelled."""
    files = [Path(datastore.get_image_uri(image_id)) for image_id in images]
    small: dict[str, Tensor] = {}
    if len(files) <= MOST_FILES and sum(path.stat().st_size for path in files) <= MOST_BYTES:
        for image_id, path in zip(images, files, strict=True):
            try:
                small[image_id] = thumbnail(read_small(path))
            except FAILURES as error:
                logger.warning("image %r is passed over: %s", image_id, error)
    if not small:
        return {"id": images[len(images) // 2], "rule": "nothing is labelled: the middle of the order"}
    central = max(small, key=lambda image_id: sum(alikeness(small[image_id], list(small.values()))))
    return {"id": central, "rule": "nothing is labelled: most like all others"}


def _handed_out(info: Mapping[str, Any]) -> float:
    """When an image was handed out by any strategy, in seconds; 0 where that is long ago, or was never."""
    last = max((each.get("ts", 0) for each in info.get("strategy", {}).values()), default=0)
    return last if time.time() - last < HANDED_OUT_S else 0
