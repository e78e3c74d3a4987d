"""MNIST and other sets in its format: images and classes in idx files.

Layout: the original four files `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
`t10k-labels-idx1-ubyte`, or one pair `images-idx3-ubyte`, `labels-idx1-ubyte`; each plain or as `.gz`, also with a dot
for the hyphen before `idx`. Reference: LeCun et al. 1998, Proceedings of the IEEE 86:2278; CC BY-SA 3.0.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...utils import check_choice
from ..readers import ImageReadError

__all__ = ["Section", "read_idx", "read_mnist"]

Section = Literal["train", "validation", "test"]

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP = b"\x1f\x8b"
_IMAGES, _CLASSES = "images-idx3-ubyte", "labels-idx1-ubyte"
_VALIDATION, _TEST = 6, 5  # one in so many


def read_idx(path: str | PathLike[str]) -> NDArray[Any]:
    """Gives the array of an idx file, plain or compressed by gzip, whatever its name.

    Args:
        path: The file: two bytes 0, a byte for the type, one for the number of axes, their sizes, then the values.

    Returns:
        Array of the stored shape and type, in the machine's order of bytes.

    Raises:
        ImageReadError: If the file is missing, is no idx file, or holds fewer or more values than its sizes say.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
        >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3]) + bytes([7, 2, 1]))
        >>> read_idx(path)
        array([7, 2, 1], dtype=uint8)
    """
    path = Path(path)
    content = _content(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES:
        raise ImageReadError(
            f"path {str(path)!r} begins with the bytes {content[:4].hex(' ') or '(none)'}; expected the magic number "
            f"of an idx file, 00 00, a type of {', '.join(f'{code:02x}' for code in _TYPES)}, and the number of axes: "
            "give an idx file"
        )
    kind, axes = np.dtype(_TYPES[content[2]]), content[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise ImageReadError(f"path {str(path)!r} ends within its header; expected {axes} sizes: copy the file again")
    shape = struct.unpack(f">{axes}I", content[4:start])
    found, wanted = len(content) - start, math.prod(shape) * kind.itemsize
    if found != wanted:
        raise ImageReadError(
            f"path {str(path)!r} holds {found} bytes of values but its sizes {shape} of {kind.itemsize} bytes each "
            f"need {wanted}; expected a complete file: copy it again"
        )
    return np.frombuffer(content, kind, offset=start).reshape(shape).astype(kind.newbyteorder("="))


def _content(path: Path) -> bytes:
    """The bytes of a file, decompressed where they are compressed."""
    if not path.is_file():
        raise ImageReadError(f"path {str(path)!r} is not an existing file; expected an idx file")
    content = path.read_bytes()
    try:
        return gzip.decompress(content) if content.startswith(_GZIP) else content
    except (OSError, EOFError, zlib.error) as error:
        raise ImageReadError(
            f"path {str(path)!r} cannot be decompressed ({error}); expected a complete gzip file: copy it again"
        ) from error


def read_mnist(dataset_dir: str | PathLike[str], section: Section) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Gives the images and classes of one section.

    Of the original files, "test" is the t10k part, and "validation" the last sixth of the training part. Of a single
    pair of files, "test" is the last fifth, "validation" the last sixth of what is before, and "train" the beginning.

    Args:
        dataset_dir: Folder as the module describes it.
        section: "train", "validation" or "test".

    Returns:
        Images (N, H, W), 28 x 28 of MNIST, and their classes (N,), in the order of the files.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ImageReadError: If it has none of the files, one is damaged, or the images are not as many as the classes.
    """
    check_choice("section", section, ("train", "validation", "test"))
    root = Path(dataset_dir)
    if not root.is_dir():
        raise FileNotFoundError(f"dataset_dir {str(root)!r} is not an existing folder; expected a folder of idx files")
    original = _found(root, "train-" + _IMAGES) or _found(root, "t10k-" + _IMAGES)
    if original and section == "test":
        return _pair(root, "t10k-")
    images, classes = _pair(root, "train-" if original else "")
    end = len(images) if original else len(images) - len(images) // _TEST
    if section == "test":
        return images[end:], classes[end:]
    middle = end - end // _VALIDATION
    chosen = slice(middle) if section == "train" else slice(middle, end)
    return images[chosen], classes[chosen]


def _found(root: Path, name: str) -> Path | None:
    """The file of a name, in any of its spellings."""
    spellings = (f"{stem}{end}" for stem in (name, name.replace("-idx", ".idx")) for end in ("", ".gz"))
    return next((root / spelling for spelling in spellings if (root / spelling).is_file()), None)


def _pair(root: Path, prefix: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    paths = []
    for name in (prefix + _IMAGES, prefix + _CLASSES):
        path = _found(root, name)
        if path is None:
            raise ImageReadError(
                f"dataset_dir {str(root)!r} has no file {name!r}; expected it plain or as .gz, beside the other files "
                "of MNIST's original four, or images-idx3-ubyte and labels-idx1-ubyte alone: copy it there"
            )
        paths.append(path)
    images, classes = (read_idx(path) for path in paths)
    for path, array, axes in zip(paths, (images, classes), (3, 1), strict=True):
        if array.ndim != axes or array.dtype != np.uint8:
            raise ImageReadError(
                f"path {str(path)!r} holds {array.dtype} of the shape {array.shape}; expected uint8 with {axes} axes: "
                "give the file that the name belongs to"
            )
    if len(images) != len(classes):
        raise ImageReadError(
            f"path {str(paths[0])!r} holds {len(images)} images but {str(paths[1])!r} {len(classes)} classes; "
            "expected as many: take both from one source"
        )
    return images, classes
