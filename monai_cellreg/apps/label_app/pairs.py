"""What a request asks to be registered: an image of the datastore and a reference that is brought onto it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore

from ...utils import check_choice
from .labels import TAGS, label_file, label_names
from .refusals import refused

__all__ = ["ReferencePair", "image_file", "read_method", "read_pair", "read_reference"]

LISTED = 8  # ids that an error lists
PLACES = {
    "image": "the address, as ?image=ID",
    "reference": 'the JSON object in the form field params, as params={"reference": "ID"}; of a batch that is the body',
}
"""Where clients put an id that is missing."""


@dataclass(frozen=True)
class ReferencePair:
    """An image and the reference that is brought onto it.

    Args:
        image_id: the image, whose frame is kept.
        reference_id: the reference.
        fixed: file of the image.
        moving: file of the reference.
        moving_label: file of the reference's label; None where it has none.
        method: name of the method.
        label_names: names of the reference's labels to their values, by value.
        fixed_label: file of the image's own label, for the metrics; None where no one has finished it.
    """

    image_id: str
    reference_id: str
    fixed: Path
    moving: Path
    moving_label: Path | None
    method: str
    label_names: Mapping[str, int]
    fixed_label: Path | None = None

    @property
    def names(self) -> dict[Path, str]:
        """What the files are called in what a client is told."""
        files = {self.fixed: self.image_id, self.moving: self.reference_id}
        labels = {self.moving_label: f"label of {self.reference_id}", self.fixed_label: f"label of {self.image_id}"}
        return {**files, **{path: name for path, name in labels.items() if path is not None}}


def read_pair(
    request: Mapping[str, Any], datastore: Datastore, *, needs_label: bool, methods: Sequence[str]
) -> ReferencePair:
    """The pair that a request asks for.

    Args:
        request: ``image``, an id or, of an uploaded file, its ``Path``; ``reference``, an id; optionally ``method``
            (``"auto"`` when omitted) and ``reference_tag``, of the reference's label (``final`` when omitted, else
            ``original``).
        datastore: that the ids belong to.
        needs_label: the reference must have a label.
        methods: names that ``method`` may be.

    Raises:
        HTTPException: 404 for an image, reference or label that is not there, 422 for anything else that is wrong.
    """
    image, fixed = image_file(request, datastore)
    method = read_method(request, methods)
    reference, moving, label = read_reference(request, datastore, needs_label=needs_label)
    if fixed == moving:
        raise HTTPException(
            422, f"reference is {reference!r}, the image itself; expected another image. Choose one that is labelled"
        )
    own = None if isinstance(request["image"], Path) else label_file(datastore, image, TAGS[0])
    names: dict[str, int] = {}
    if label:
        with refused({label[0]: f"label of {reference}"}):
            names = label_names(datastore, reference, label[1])
    return ReferencePair(
        image, reference, fixed, moving, label[0] if label else None, method, names, own[0] if own else None
    )


def image_file(request: Mapping[str, Any], datastore: Datastore) -> tuple[str, Path]:
    """Name and file of the image that a request asks for.

    Raises:
        HTTPException: 404 for an unknown id, 422 for none.
    """
    image = request.get("image")
    if isinstance(image, Path):  # no client can send one: the app gives the path of what was uploaded
        return image.name, image
    return _known(image, "image", datastore)


def read_reference(
    request: Mapping[str, Any], datastore: Datastore, *, needs_label: bool
) -> tuple[str, Path, tuple[Path, str] | None]:
    """Id and file of the reference that a request asks for, and its label with the tag.

    Raises:
        HTTPException: 404 for an unknown reference or label, 422 for none.
    """
    reference, moving = _known(request.get("reference"), "reference", datastore)
    tag = request.get("reference_tag") or ""
    if not isinstance(tag, str):
        raise HTTPException(422, f"reference_tag is {tag!r}; expected text, such as {TAGS[0]!r}. Leave it out for any")
    label = label_file(datastore, reference, tag)
    if label is None and (needs_label or tag):
        wanted = f"reference_tag is {tag!r} but reference" if tag else "reference"
        there = sorted(datastore.get_labels_by_image_id(reference))
        found = f"labels with the tags {', '.join(map(repr, there))}" if there else "no label"
        raise HTTPException(
            404,
            f"{wanted} {reference!r} has {found}; expected a label of {' or '.join([tag] if tag else TAGS)}. "
            "Annotate it first, or choose another reference",
        )
    return reference, moving, label


def read_method(request: Mapping[str, Any], methods: Sequence[str]) -> str:
    """The method that a request asks for, ``"auto"`` unless it names one.

    Raises:
        HTTPException: 422 for an unknown one.
    """
    method = request.get("method") or "auto"
    with refused({}):
        check_choice("method", method, methods)
    return str(method)


def _known(image_id: object, name: str, datastore: Datastore) -> tuple[str, Path]:
    """An id that the datastore knows, and its file."""
    if not isinstance(image_id, str) or not image_id:
        raise HTTPException(
            422, f"{name} is {image_id!r}; expected the id of an image of the datastore. Add {name} to {PLACES[name]}"
        )
    images = datastore.list_images()
    if image_id not in images:
        listed = ", ".join(map(repr, sorted(images)[:LISTED])) + (", ..." if len(images) > LISTED else "")
        raise HTTPException(
            404,
            f"{name} is {image_id!r}, which the datastore does not have; expected one of {listed or 'none'}. "
            "Choose one of these, or add the image",
        )
    path = Path(datastore.get_image_uri(image_id))
    if not path.is_file():
        raise HTTPException(404, f"{name} {image_id!r} has no file any more; expected an image file. Add it again")
    return image_id, path
