"""PNG, JPEG and GIF by Pillow; PNG with 16 bits a colour by imagecodecs, since Pillow reads 8 of them."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image

from .record import OpenOptions, Placed, Stored

_CONVERTED = ("CMYK", "YCbCr", "LAB", "HSV")
_WRITTEN = {".png": ("PNG", ("uint8", "uint16")), ".jpg": ("JPEG", ("uint8",)), ".jpeg": ("JPEG", ("uint8",))}
JPEG_QUALITY = 95


class PictureFile:
    """An opened picture; the frames of an animation are its pages."""

    def __init__(self, path: Path, options: OpenOptions) -> None:
        self.path, self.as_label = path, options.as_label
        self.file = Image.open(path)
        self.pages: int = getattr(self.file, "n_frames", 1)

    def read(self, page: int) -> Stored:
        if self.pages > 1:
            self.file.seek(page)
        if self.pages == 1 and _is_deep_colour(self.path):
            array = imagecodecs.png_decode(self.path.read_bytes())
        elif (self.file.mode in ("P", "PA") and not self.as_label) or self.file.mode in _CONVERTED:
            array = np.asarray(self.file.convert("RGB"))  # a palette's indices are labels, but no intensities
        else:
            array = np.asarray(self.file.convert("L") if self.file.mode == "1" else self.file)
        return Stored(array, in_colour=array.ndim == 3, header=self._header())

    def close(self) -> None:
        self.file.close()

    def _header(self) -> dict[str, object]:
        known = self.file.info
        header: dict[str, object] = {}
        if "dpi" in known:
            header["dpi"] = [float(x) for x in known["dpi"]]
        if known.get("icc_profile"):
            header["icc_profile"] = base64.b64encode(known["icc_profile"]).decode()
        return header


def _is_deep_colour(path: Path) -> bool:
    """Whether a file is a PNG with 16 bits a sample and more than one sample a pixel, from its first header."""
    with path.open("rb") as file:
        start = file.read(26)
    return start[:8] == b"\x89PNG\r\n\x1a\n" and start[24] == 16 and start[25] in (2, 4, 6)


def write_picture(temporary: Path, image: Placed, path: Path) -> None:
    """Writes (1, height, width), or (3, height, width) in colour, with the resolution and colour profile of its source.

    Raises:
        ValueError: If the format cannot hold the shape or the number type.
    """
    name, types = _WRITTEN[path.suffix.lower()]
    plane = image.samples_last
    if image.array.ndim != 3 or image.array.shape[0] not in (1, 3):
        raise ValueError(
            f"image has the shape {image.array.shape}; {path.suffix} holds (1, height, width) or (3, height, width): "
            "write volumes as .nii.gz"
        )
    if plane.dtype.name not in types:
        raise ValueError(
            f"image would be written as {plane.dtype.name} to {path.name!r}; {name} holds {' or '.join(types)}: give "
            "`like` an image of that type, or write .tif"
        )
    plane = np.ascontiguousarray(plane)
    if plane.ndim == 3 and plane.dtype == np.uint16:
        temporary.write_bytes(imagecodecs.png_encode(plane))
        return
    options: dict[str, object] = {"quality": JPEG_QUALITY} if name == "JPEG" else {}
    if "dpi" in image.header:
        options["dpi"] = tuple(image.header["dpi"])
    if "icc_profile" in image.header and plane.ndim == 3:
        options["icc_profile"] = base64.b64decode(image.header["icc_profile"])
    buffer = io.BytesIO()
    Image.fromarray(plane).save(buffer, format=name, **options)
    temporary.write_bytes(buffer.getvalue())
