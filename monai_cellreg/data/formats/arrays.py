"""NumPy's own files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .record import ImageReadError, OpenOptions, Placed, Stored

_COLOUR_SAMPLES = (3, 4)
_LEAST_SIDE = 5  # an array with fewer columns than this is no colour picture, whatever its last axis


class ArrayFile:
    """An opened .npy, read lazily, or .npz with one array.

    (H, W) and (D, H, W) are images, (H, W, 3) and (H, W, 4) of whole numbers are colour, as skimage and imageio give
    them. As a movie the first axis is time.
    """

    def __init__(self, path: Path, options: OpenOptions) -> None:
        self.name = ""
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                if len(archive.files) != 1:
                    raise ImageReadError(
                        f"path {str(path)!r} holds {len(archive.files)} arrays ({', '.join(archive.files)}); expected "
                        "one: save the image alone"
                    )
                self.name = archive.files[0]
                self.array = archive[self.name]
        else:
            self.array = np.load(path, mmap_mode="r", allow_pickle=False)
        if self.array.dtype.kind not in "biufc":
            raise ImageReadError(
                f"path {str(path)!r} holds values of type {self.array.dtype}; expected numbers: convert them first"
            )
        self.as_movie = options.as_movie and self.array.ndim > 2
        self.pages = self.array.shape[0] if self.as_movie else 1

    def read(self, page: int) -> Stored:
        array = np.asarray(self.array[page] if self.as_movie else self.array)
        while array.ndim > 2 and array.shape[0] == 1:
            array = array[0]
        return Stored(array, in_colour=_is_colour(array), header={"name": self.name})

    def close(self) -> None:
        del self.array


def _is_colour(array: np.ndarray) -> bool:
    wide = array.ndim == 3 and min(array.shape[:2]) >= _LEAST_SIDE
    return wide and array.shape[-1] in _COLOUR_SAMPLES and array.dtype.kind == "u"


def write_array(temporary: Path, image: Placed, path: Path) -> None:
    """Writes (*spatial), or (*spatial, 3) in colour; the file has no place for a spacing."""
    if path.suffix.lower() == ".npz":
        np.savez_compressed(temporary, **{image.header.get("name") or "image": image.samples_last})
    else:
        np.save(temporary, image.samples_last, allow_pickle=False)
