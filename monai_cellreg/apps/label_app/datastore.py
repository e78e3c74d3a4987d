"""The folder of images and labels, into which nothing comes that the models could not use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.exception import ImageNotFoundException

from ...data import read_image
from ...data.readers import page_count, read_grid
from .frames import frame_labels, open_frames
from .labels import label_on
from .refusals import refused

__all__ = ["CheckedDatastore"]


class CheckedDatastore(LocalDatastore):
    """MONAI Label's folder, which reads images and labels before it stores them, so that refused ones change nothing.

    An image has one file, and a label of an image with a tag as well, whatever extensions clients choose.
    """

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Stores an image.

        Args:
            image_id: its id; the name of the file when empty.
            image_filename: its file, which is copied.
            image_info: told with it.

        Returns:
            The id.

        Raises:
            HTTPException: 422 when it cannot be read, 409 when the id has a file with another extension.
        """
        name, extension = self._to_id(Path(image_filename).name)
        image_id = image_id or name
        there = self._with_other_extensions(Path(self._datastore.image_path()), image_id, extension)
        if there:
            raise HTTPException(
                409,
                f"image {image_id!r} is the file {there[0].name!r} already, but {extension!r} was sent; expected one "
                f"id for each image. Send it with another id, or DELETE /datastore/?id={image_id} first",
            )
        with refused({Path(image_filename): image_id}):
            _read_through(Path(image_filename))
        return str(super().add_image(image_id, image_filename, image_info))

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Stores a label in place of the one that the image has with this tag.

        Args:
            image_id: the image.
            label_filename: file of the label, which is copied.
            label_tag: the tag.
            label_info: told with it; see :func:`~.labels.label_names`.

        Returns:
            The id of the label, that of the image.

        Raises:
            ImageNotFoundException: for an unknown image.
            HTTPException: 422 when the label cannot be read or does not fit the image, or its names are of no use.
        """
        if image_id not in self.list_images():
            raise ImageNotFoundException(f"Image {image_id} not found")
        _check_names(label_info)
        image, label = Path(self.get_image_uri(image_id)), Path(label_filename)
        with refused({label: f"label of {image_id}", image: image_id}):
            _check_fit(label, image)
        saved = super().save_label(image_id, label_filename, label_tag, label_info)
        folder, extension = Path(self._datastore.label_path(label_tag)), self._to_id(label.name)[1]
        for older in self._with_other_extensions(folder, image_id, extension):
            older.unlink(missing_ok=True)  # else it would be found again once the new one is deleted
        return str(saved)

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Adds to what is told with a label.

        Raises:
            HTTPException: 422 when the names in it are of no use.
        """
        _check_names(info)
        super().update_label_info(label_id, label_tag, info)

    def _with_other_extensions(self, folder: Path, name: str, extension: str) -> list[Path]:
        """Files of an image or label besides the one with an extension."""
        others = {pattern.lstrip("*") for pattern in self._extensions} - {extension}
        return [path for other in sorted(others) if (path := folder / f"{name}{other}").is_file()]


def _read_through(path: Path) -> None:
    """Reads an image: as one, or the first and last of its frames.

    Raises:
        ValueError: when it cannot be read.
    """
    if page_count(path) == 1:
        read_image(path, color="keep", allow_constant=True)
        return
    with open_frames(path) as frames:
        _ = frames[0], frames[len(frames) - 1]


def _check_fit(label: Path, image: Path) -> None:
    """Checks that a label is one of its image, or of its frames.

    Raises:
        ValueError: when one of them cannot be read, or they do not fit.
    """
    if page_count(image) == 1:
        label_on(label, read_grid(image))
        return
    with open_frames(image) as frames:
        frame_labels(label, frames)


def _check_names(info: Mapping[str, Any] | None) -> None:
    """Checks the names that a client tells of the values of a label; without a value they count from 1.

    Raises:
        HTTPException: 422 when ``label_info`` is there, but no list of names and numbers.
    """
    told = (info or {}).get("label_info")
    if told is None:
        return
    for each in told if isinstance(told, list) else [told]:
        known = each if isinstance(told, list) and isinstance(each, dict) else {}
        name, value = known.get("name"), known.get("idx", known.get("id", 1))
        if not (isinstance(name, str) and name and type(value) is int and value >= 0):
            raise HTTPException(
                422,
                f"label_info holds {ascii(each)[:80]}; expected a list of objects with a name and a whole idx >= 0. "
                'Send [{"name": "nucleus", "idx": 1}], or leave it out',
            )
