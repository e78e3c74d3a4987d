"""Scores of images by how well the label of a reference would fit them, without knowing the truth."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from monai.data import MetaTensor
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.exception import ImageNotFoundException
from monailabel.interfaces.tasks.scoring import ScoringMethod
from torch import Tensor

from ...methods import Method
from ...utils import check_choice
from .labels import TAGS, label_file
from .natural_order import natural_order
from .refusals import FAILURES, refused
from .registrations import Registrations
from .round_trip import alikeness, read_labelled, read_small, round_trip_dice, thumbnail
from .trained import SUFFIX, weights_file
from .training_options import Number

__all__ = ["INFO", "PropagationScoring"]

logger = logging.getLogger(__name__)

INFO = "propagation"
"""Key of an image's info in the datastore, under which its score is."""

MOST_IMAGES = Number(16, 1, 100_000)
MOST_COMPARED = 32  # references that an image is compared with at sight


@dataclass(frozen=True)
class _Reference:
    """An image with a finished label.

    Args:
        image_id: its id.
        path: its file.
        label: file of the label.
    """

    image_id: str
    path: Path
    label: Path

    @property
    def stamp(self) -> str:
        """Text that differs for other files."""
        return _file_stamp(self.path) + _file_stamp(self.label)


class _Small(NamedTuple):
    """A reference as it is registered for a score, and its thumbnail."""

    image: MetaTensor
    label: MetaTensor
    thumbnail: Tensor


class PropagationScoring(ScoringMethod):
    """Scores every unlabelled image from 0 to 1: how well would the label of the best reference fit it?

    The score is the overlap of a reference's label with itself after it was carried to the image and back; see
    :func:`~.round_trip.round_trip_dice`. References are the images with finished labels. Two of them are tried, the
    one that looks most alike and the one whose id comes nearest in natural order, and the better one is proposed.

    An image's info in the datastore then has ``propagation`` with ``score``, ``reference`` and ``method``; the score is
    None, with a ``reason``, where nothing can be registered. It is not computed again while the files of the image and
    of its two references and labels are unchanged.

    Args:
        registrations: knows the methods of the app.
    """

    def __init__(self, registrations: Registrations) -> None:
        super().__init__(
            "How well a reference's label would fit each image: its overlap with itself, carried there and back"
        )
        self.registrations = registrations

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, int]:
        """Scores images that have no score, and then those whose score is out of date.

        Args:
            request: ``registration``, name of the method ("auto" when omitted, whose scores rank images best), and
                ``max_images`` to score at most (16), evenly spread in the order of their ids.
            datastore: of the images.

        Returns:
            Numbers of images: ``references``, ``unchanged``, ``scored``, ``failed`` and ``waiting``.

        Raises:
            HTTPException: 422 for an unknown method, or a number that cannot be.
        """
        with refused({}):
            name = request.get("registration", "auto")
            check_choice("registration", name, self.registrations.methods())
            most = int(MOST_IMAGES.read("max_images", request.get("max_images", MOST_IMAGES.default)))
            places = {k: place for place, k in enumerate(sorted(datastore.list_images(), key=natural_order))}
            comparison = _Comparison(_references(datastore), places, self.registrations.method(name), self._stamp(name))
        files = {image_id: Path(datastore.get_image_uri(image_id)) for image_id in datastore.get_unlabeled_images()}
        counts = dict.fromkeys(("references", "unchanged", "scored", "failed", "waiting"), 0)
        if not comparison.references:
            return {**counts, "waiting": len(files)}
        known = {image_id: datastore.get_image_info(image_id).get(INFO, {}) for image_id in files}
        stamps = {image_id: comparison.stamp(path) for image_id, path in files.items()}
        due = [k for k in sorted(files, key=places.__getitem__) if known[k].get("stamp") != stamps[k]]
        first = _spread([image_id for image_id in due if not known[image_id]], most)
        chosen = first + _spread([image_id for image_id in due if known[image_id]], most - len(first))
        for image_id in chosen:
            found = comparison.scored(image_id, files[image_id], known[image_id])
            counts["failed" if found["score"] is None else "scored"] += 1
            _store(datastore, image_id, {**found, "method": name, "stamp": stamps[image_id]})
        counts.update(
            references=len(comparison.references), unchanged=len(files) - len(due), waiting=len(due) - len(chosen)
        )
        logger.info("scores of propagation: %s", counts)
        return counts

    def _stamp(self, method: str) -> str:
        """Text that differs for another method, and for other weights."""
        if not method.endswith(SUFFIX):
            return method
        return method + _file_stamp(weights_file(self.registrations.app_dir, method.removesuffix(SUFFIX)))


class _Comparison:
    """Compares images with references, each of which is read once.

    Args:
        references: images with labels.
        places: of all images in the natural order of their ids.
        method: registers them.
        method_stamp: text that differs for another method.
    """

    def __init__(
        self, references: Sequence[_Reference], places: Mapping[str, int], method: str | Method, method_stamp: str
    ) -> None:
        self.references, self.places = references, places
        self.method, self.method_stamp = method, method_stamp
        self._read: dict[str, _Small | None] = {}

    def stamp(self, path: Path) -> str:
        """Text that is the same while no score can have changed."""
        return _digest(self.method_stamp, _file_stamp(path), *sorted(reference.stamp for reference in self.references))

    def scored(self, image_id: str, path: Path, known: Mapping[str, Any]) -> dict[str, Any]:
        """The score of an image with the reference that gives it; what is known where its candidates are the same."""
        try:
            image = read_small(path)
            candidates = self._candidates(image_id, image)
            pairs = _digest(self.method_stamp, _file_stamp(path), *(each.stamp for each in candidates))
            if known.get("pairs") == pairs:
                return dict(known)
            scores = {}
            for each in candidates:
                small = self._small(each)
                assert small is not None
                scores[each.image_id] = round_trip_dice(image, small.image, small.label, self.method)
        except FAILURES as error:
            logger.warning("image %r has no score: %s", image_id, error)
            return {"score": None, "reference": None, "reason": str(error).replace(str(path), image_id)}
        best = max(scores, key=lambda reference: scores[reference])
        return {"score": round(scores[best], 4), "reference": best, "pairs": pairs}

    def _candidates(self, image_id: str, image: MetaTensor) -> list[_Reference]:
        """The references that are tried: the nearest one in order, and the one that looks most alike.

        Raises:
            ValueError: when none can be compared with the image.
        """
        place = self.places[image_id]
        near = sorted(self.references, key=lambda each: abs(self.places[each.image_id] - place))[:MOST_COMPARED]
        able = [(each, small) for each in near if (small := self._small(each)) and small.image.ndim == image.ndim]
        if not able:
            raise ValueError(
                f"image {image_id!r} has {image.ndim - 1} dimensions, and no image of as many has a label that can be "
                "used; expected one. Annotate one of them"
            )
        likeness = alikeness(thumbnail(image), [small.thumbnail for _, small in able])
        alike = max(range(len(able)), key=lambda k: likeness[k])
        return [able[k][0] for k in dict.fromkeys((alike, 0))]

    def _small(self, reference: _Reference) -> _Small | None:
        """A reference as it is registered; None where its files cannot be used."""
        if reference.image_id not in self._read:
            try:
                image, label = read_labelled(reference.path, reference.label)
                self._read[reference.image_id] = _Small(image, label, thumbnail(image))
            except FAILURES as error:
                logger.warning("reference %r is left out: %s", reference.image_id, error)
                self._read[reference.image_id] = None
        return self._read[reference.image_id]


def _references(datastore: Datastore) -> list[_Reference]:
    """All images with finished labels."""
    labels = {image_id: label_file(datastore, image_id, TAGS[0]) for image_id in datastore.list_images()}
    return [_Reference(k, Path(datastore.get_image_uri(k)), label[0]) for k, label in labels.items() if label]


def _store(datastore: Datastore, image_id: str, found: Mapping[str, Any]) -> None:
    """Writes a score to the datastore as it is now: others may have changed it since it was read."""
    datastore.refresh()
    try:
        datastore.update_image_info(image_id, {INFO: dict(found)})
    except ImageNotFoundException:
        logger.warning("image %r was removed while it was scored", image_id)


def _spread(ids: Sequence[str], count: int) -> list[str]:
    """At most ``count`` ids, evenly spread."""
    if count >= len(ids):
        return list(ids)
    return [ids[(2 * k + 1) * len(ids) // (2 * count)] for k in range(max(count, 0))]


def _file_stamp(path: Path) -> str:
    stat = path.stat()
    return f"{path}:{stat.st_size}:{stat.st_mtime_ns};"


def _digest(*texts: str) -> str:
    return sha256("\n".join(texts).encode()).hexdigest()[:24]
