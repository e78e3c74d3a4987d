"""The datastore's images and labels as a folder that the bundles read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from zlib import crc32

from monailabel.interfaces.datastore import Datastore

from ...data import ImageReadError, read_grid, read_image, write_image
from ...data.datasets.image_folder import IMAGE_SUFFIXES
from ...data.readers import file_suffix
from ...geometry import SamplingGrid
from .labels import TAGS, label_file, label_on

__all__ = ["Collected", "StoredImage", "collect", "fingerprint", "stage"]

EXPLAINED = 5  # images that an error says of why they are left out


@dataclass(frozen=True)
class StoredImage:
    """An image of the datastore.

    Args:
        image_id: its id.
        path: its file.
        label: file of its finished label; none without.
        grid: where it lies; of several pages, each.
    """

    image_id: str
    path: Path
    label: Path | None
    grid: SamplingGrid


@dataclass(frozen=True)
class Collected:
    """The images that take part in a training.

    Args:
        images: all of one dimension.
        left_out: id of every other image to the reason.
    """

    images: Sequence[StoredImage]
    left_out: Mapping[str, str]

    @property
    def labels(self) -> int:
        """How many have a label."""
        return sum(image.label is not None for image in self.images)

    @property
    def names(self) -> dict[Path, str]:
        """What the files are called in what a client is told."""
        labels = {image.label: f"label of {image.image_id}" for image in self.images if image.label is not None}
        return labels | {image.path: image.image_id for image in self.images}

    def check_count(self, least: int, advice: str) -> None:
        """Checks that there are enough.

        Raises:
            ValueError: when there are not.
        """
        if len(self.images) < least:
            told = [f"{name} ({why})" for name, why in list(self.left_out.items())[:EXPLAINED]]
            more = ", ..." if len(self.left_out) > EXPLAINED else ""
            raise ValueError(
                f"the datastore has {len(self.images)} images that can train; expected {least} or more. Left out: "
                f"{', '.join(told) or 'none'}{more}. {advice}"
            )


def collect(datastore: Datastore, *, dims: int | None, with_labels: bool, with_unlabelled: bool = True) -> Collected:
    """Chooses the images of a datastore that can train, in the order of their ids.

    Args:
        datastore: where they come from.
        dims: of the images; that of most when None, of a film or a stack of pages that of a page.
        with_labels: whether labels with the tag ``final`` are wanted.
        with_unlabelled: whether images without one can train as well.
    """
    images, left_out = [], {}
    for image_id in sorted(datastore.list_images()):
        path = Path(datastore.get_image_uri(image_id))
        label = label_file(datastore, image_id, TAGS[0]) if with_labels else None
        if label is None and not with_unlabelled:
            left_out[image_id] = f"no label with the tag {TAGS[0]!r}"
            continue
        try:
            images.append(StoredImage(image_id, path, label[0] if label else None, read_grid(path, page=0)))
        except (ImageReadError, ValueError) as error:
            left_out[image_id] = str(error).replace(str(path), image_id)
    if dims is None:
        dims = 3 if 2 * sum(image.grid.spatial_dims == 3 for image in images) > len(images) else 2
    for image in images:
        if image.grid.spatial_dims != dims:
            left_out[image.image_id] = f"{image.grid.spatial_dims}D, and the training is of {dims}D images"
    return Collected([image for image in images if image.image_id not in left_out], left_out)


def stage(images: Sequence[StoredImage], folder: Path) -> None:
    """Fills a new folder with ``images/`` and ``labels/``: links to files, or copies of those that bundles do not read.

    Args:
        images: what goes there.
        folder: where.

    Raises:
        ValueError: for a file that has to be converted and cannot be read, or a label of another size than its image.
    """
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for image in images:
        name, suffix = _file_name(image.image_id), file_suffix(image.path)
        converted = ".tif" if image.grid.frame == "index" else ".nii.gz"
        if suffix in IMAGE_SUFFIXES:
            (folder / "images" / (name + suffix)).symlink_to(image.path.resolve())
        else:
            write_image(folder / "images" / (name + converted), read_image(image.path))
        if image.label is None:
            continue
        if _is_read_alike(image.label, image.grid):
            (folder / "labels" / (name + file_suffix(image.label))).symlink_to(image.label.resolve())
        else:  # clients label pictures in formats of volumes, whose axes have another order
            write_image(folder / "labels" / (name + converted), label_on(image.label, image.grid))


def _is_read_alike(label: Path, grid: SamplingGrid) -> bool:
    """Whether bundles, which take labels voxel by voxel, find those of a file where they are in the image."""
    if file_suffix(label) not in IMAGE_SUFFIXES:
        return False
    other = read_grid(label, page=0)
    return other.frame == grid.frame == "index" or other.matches(grid)


def fingerprint(images: Sequence[StoredImage]) -> str:
    """Text that differs where a file was added, removed, replaced or changed."""
    told = []
    for image in images:
        for path in (image.path, image.label):
            stat = None if path is None else path.stat()
            told.append((image.image_id, None if stat is None else (str(path), stat.st_size, stat.st_mtime_ns)))
    return sha256(repr(told).encode()).hexdigest()


def _file_name(image_id: str) -> str:
    """A name for every id that is always the same, holds no dot and is no other's."""
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', image_id)[:80]}_{crc32(image_id.encode()):08x}"
