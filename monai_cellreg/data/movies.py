"""Films: read frame by frame from any file, written frame by frame as OME-TIFF and MP4; never held in memory whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import Any, overload

import imageio_ffmpeg
import numpy as np
import tifffile
import torch
from monai.data import MetaTensor

from ..geometry import SamplingGrid
from ..utils import atomic_path, check_positive
from .formats import SUFFIXES, ImageReadError, OpenedImage, OpenOptions, Placed, file_suffix, is_dicom, open_image
from .formats.tiff import ome_metadata
from .readers import Color, read_image, read_page
from .writers import as_type, placed

__all__ = ["Movie", "contrast_limits", "write_mp4", "write_ome_tiff"]

Frame = torch.Tensor | np.ndarray

PERCENTILES = (0.5, 99.5)  # of all pixels: what becomes black and white
SAMPLED_PIXELS = 20_000  # of a frame, for the percentiles
MP4_QUALITY = 8  # of 10
LARGEST_CLASSIC_TIFF = 2**32 - 2**25  # bytes; more need BigTIFF


class Movie(Sequence[MetaTensor]):
    """The frames of a film, read when they are asked for.

    Convention: frames are those of `read_image`, with its order of axes, spacing and metadata; a frame may be constant.
    Time is the T axis of a TIFF, the frames of an animation or film, the fourth axis of NIfTI, MHA and NRRD, the first
    axis of a NumPy array, or the files of a folder in the order of the numbers in their names. A TIFF stack with one
    axis besides rows and columns is a film whatever it calls that axis, because many programs call time Z or channel.

    Args:
        path: File, or folder of files of one kind.
        channel: Channel of a TIFF with a channel axis, from 0.
        color: "grey" converts colour; "keep" gives colour as three channels.

    Raises:
        ImageReadError: If nothing can be read, a folder holds files of several kinds, or a TIFF has several axes that
            could be time.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "film.npy"
        >>> np.save(path, np.arange(24).reshape(4, 2, 3))
        >>> movie = Movie(path)
        >>> len(movie), movie.frame(3)[0, 1].tolist()
        (4, [21.0, 22.0, 23.0])
    """

    def __init__(self, path: str | PathLike[str], *, channel: int | None = None, color: Color = "grey") -> None:
        self.path, self.channel, self.color = Path(path), channel, color
        self._files: list[Path] = []
        self._opened: OpenedImage | None = None
        self._stack = ExitStack()
        if self.path.is_dir() and not is_dicom(self.path):
            self._files = _numbered_files(self.path)
        else:
            options = OpenOptions(channel=channel, as_movie=True)
            self._opened = self._stack.enter_context(open_image(self.path, options))
        first = self._read(0)
        self.grid = SamplingGrid.from_image(first)
        self.source_dtype: str = first.meta["source_dtype"]
        self.seconds_per_frame: float | None = json.loads(first.meta["header"]).get("seconds_per_frame")
        self._shape = tuple(first.shape)

    def __len__(self) -> int:
        return self._opened.pages if self._opened else len(self._files)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance of neighbouring pixels along each axis, in `unit`."""
        return self.grid.spacing

    @property
    def unit(self) -> str:
        """Unit of the spacing."""
        return self.grid.unit

    def frame(self, t: int) -> MetaTensor:
        """Gives one frame, (C, *spatial) float32.

        Raises:
            IndexError: If there is no such frame.
            ImageReadError: If the frame is damaged, not finite, or of another size than the first.
        """
        if not -len(self) <= t < len(self):
            raise IndexError(f"frame is {t} but {str(self.path)!r} has {len(self)}; expected 0 to {len(self) - 1}")
        t %= len(self)
        frame = self._read(t)
        if tuple(frame.shape) != self._shape:
            raise ImageReadError(
                f"frame {t} of {str(self.path)!r} has the shape {tuple(frame.shape)} but the first {self._shape}; "
                "expected frames of one size: leave it out, or crop all to one size"
            )
        return frame

    @overload
    def __getitem__(self, t: int) -> MetaTensor: ...

    @overload
    def __getitem__(self, t: slice) -> list[MetaTensor]: ...

    def __getitem__(self, t: int | slice) -> MetaTensor | list[MetaTensor]:
        if isinstance(t, slice):
            return [self.frame(k) for k in range(*t.indices(len(self)))]
        return self.frame(t)

    def __enter__(self) -> Movie:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._stack.close()

    def _read(self, t: int) -> MetaTensor:
        if self._opened is not None:
            return read_page(self._opened, self.path, t, color=self.color)
        return read_image(self._files[t], channel=self.channel, color=self.color, allow_constant=True)


def _numbered_files(folder: Path) -> list[Path]:
    """The images of a folder, in the order of the numbers in their names."""
    files = [f for f in folder.iterdir() if file_suffix(f) in SUFFIXES and not f.name.startswith(".")]
    kinds = sorted({file_suffix(file) for file in files})
    if len(kinds) != 1:
        found = f"images of the kinds {', '.join(kinds)}" if kinds else "no images"
        raise ImageReadError(f"path {str(folder)!r} holds {found}; expected the frames of one film, all of one kind")
    return sorted(files, key=_natural_order)


def _natural_order(path: Path) -> list[tuple[int, int | str]]:
    """A key by which frame10 comes after frame9."""
    return [(1, int(part)) if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", path.name.lower())]


def write_ome_tiff(
    path: str | PathLike[str],
    frames: Iterable[Frame],
    *,
    count: int | None = None,
    like: MetaTensor | None = None,
    seconds_per_frame: float | None = None,
) -> None:
    """Writes a film as OME-TIFF, one frame in memory at a time, with pixel size and time between frames.

    Args:
        path: File to write or replace, ".ome.tif" or ".ome.tiff".
        frames: (1, *spatial), or (3, height, width) colour, each; the first one's type and place hold for all.
        count: Number of frames; needed where `frames` has no length.
        like: Image whose number type, names and, for plain frames, pixel size are used (see `write_image`).
        seconds_per_frame: Time between frames; that of the source when omitted.

    Raises:
        ValueError: If the extension is another, the number of frames is unknown or another than said, frames differ in
            shape, or OME-TIFF cannot hold their type.
        OSError: If the file cannot be written.
    """
    path = Path(path)
    if file_suffix(path) not in (".ome.tif", ".ome.tiff"):
        raise ValueError(f"path {str(path)!r} has the extension {file_suffix(path)!r}; expected .ome.tif or .ome.tiff")
    total = count if count is not None else len(frames) if isinstance(frames, Sized) else None
    if total is None or total < 1:
        raise ValueError(f"count is {count} and frames has {total} entries; expected the number of frames, at least 1")
    first, iterator = _first(frames)
    content = placed(first, like)
    shape = content.samples_last.shape
    seconds = seconds_per_frame or content.header.get("seconds_per_frame")
    timing = {"TimeIncrement": float(seconds), "TimeIncrementUnit": "s"} if seconds else {}
    metadata: dict[str, Any] = {**ome_metadata(content), **timing}
    metadata["axes"] = "T" + metadata["axes"]
    size = total * int(np.prod(shape)) * content.array.dtype.itemsize
    with atomic_path(path) as temporary:
        with tifffile.TiffWriter(temporary, ome=True, bigtiff=size > LARGEST_CLASSIC_TIFF) as file:
            file.write(
                _planes(iterator, content, total),
                shape=(total, *shape),
                dtype=content.array.dtype,
                photometric="rgb" if content.array.shape[0] == 3 else "minisblack",
                compression="zlib",
                metadata=metadata,
            )
        if next(iterator, None) is not None:
            raise ValueError(f"frames has more than {total} entries; expected as many as count says")


def _first(frames: Iterable[Frame]) -> tuple[Frame, Iterator[Frame]]:
    """The first frame, and an iterator over all of them."""
    iterator = iter(frames)
    try:
        first = next(iterator)
    except StopIteration:
        raise ValueError("frames is empty; expected at least one frame") from None

    def everything() -> Iterator[Frame]:
        yield first
        yield from iterator

    return first, everything()


def _planes(frames: Iterator[Frame], first: Placed, total: int) -> Iterator[np.ndarray]:
    """The planes of all frames, one by one, in the type of the first."""
    done = 0
    for frame in frames:
        array = np.asarray(torch.as_tensor(frame).detach().cpu())
        if array.shape != first.array.shape:
            raise ValueError(
                f"frame {done} has the shape {array.shape} but the first {first.array.shape}; expected frames of "
                "one shape"
            )
        typed = first._replace(array=as_type(array, first.array.dtype)).samples_last
        yield from typed if first.spatial_dims == 3 else [typed]
        done += 1
    if done != total:
        raise ValueError(f"frames ended after {done} of {total}; expected as many as count says")


def contrast_limits(frames: Iterable[Frame], *, percentiles: tuple[float, float] = PERCENTILES) -> tuple[float, float]:
    """Intensities between which a film is shown: two percentiles over all its frames and channels.

    Args:
        frames: (C, *spatial) each; about `SAMPLED_PIXELS` evenly spread pixels of each are looked at.
        percentiles: Lower and upper one.

    Returns:
        The lower and the higher intensity, which differ.

    Raises:
        ValueError: If there is no frame.
    """
    samples = []
    for frame in frames:
        flat = np.asarray(torch.as_tensor(frame).detach().cpu(), dtype=np.float64).ravel()
        samples.append(flat[:: max(1, flat.size // SAMPLED_PIXELS)])
    if not samples:
        raise ValueError("frames is empty; expected at least one frame")
    low, high = np.percentile(np.concatenate(samples), percentiles)
    return float(low), float(high if high > low else low + 1)


def write_mp4(
    path: str | PathLike[str],
    frames: Iterable[Frame],
    *,
    frames_per_second: float = 10.0,
    limits: tuple[float, float] | None = None,
) -> None:
    """Writes a film as MP4 (H.264, yuv420p), which every browser plays.

    Odd sizes get one more row or column, a copy of the last.

    Args:
        path: File to write or replace, ".mp4".
        frames: (1, height, width), or (3, height, width) colour, each.
        frames_per_second: Speed.
        limits: Intensities that become black and white. When omitted, those of `contrast_limits`, for which the frames
            are gone through twice; colour that was stored with 8 bits is kept as it is.

    Raises:
        ValueError: If the extension is another, frames are volumes or differ in shape, or frames can be gone through
            only once and no limits are given.
        OSError: If the file cannot be written.
    """
    path = Path(path)
    if file_suffix(path) != ".mp4":
        raise ValueError(f"path {str(path)!r} has the extension {file_suffix(path)!r}; expected .mp4")
    check_positive("frames_per_second", frames_per_second)
    if limits is None and isinstance(frames, Iterator):
        raise ValueError("limits is None and frames can be gone through only once; expected limits, or a list or Movie")
    first, iterator = _first(frames)
    shape = tuple(first.shape)
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(
            f"frames have the shape {shape}; expected (1, height, width) or (3, height, width): take a plane or a "
            "maximum projection of volumes"
        )
    low, high = limits or _own_limits(first) or contrast_limits(frames)
    height, width = shape[1] + shape[1] % 2, shape[2] + shape[2] % 2
    with atomic_path(path) as temporary:
        film = imageio_ffmpeg.write_frames(
            str(temporary),
            (width, height),
            pix_fmt_in="gray" if shape[0] == 1 else "rgb24",
            fps=frames_per_second,
            codec="libx264",
            quality=MP4_QUALITY,
            macro_block_size=2,
            ffmpeg_log_level="error",
            output_params=["-movflags", "+faststart"],
        )
        try:
            film.send(None)
            for number, frame in enumerate(iterator):
                if tuple(frame.shape) != shape:
                    raise ValueError(
                        f"frame {number} has the shape {tuple(frame.shape)} but the first {shape}; expected one shape"
                    )
                film.send(_shown(frame, low, high))
        finally:
            film.close()


def _own_limits(frame: Frame) -> tuple[float, float] | None:
    """The whole range of 8 bits for colour that was stored so."""
    stored = frame.meta.get("source_dtype") if isinstance(frame, MetaTensor) else str(frame.dtype).split(".")[-1]
    return (0.0, 255.0) if frame.shape[0] == 3 and stored == "uint8" else None


def _shown(frame: Frame, low: float, high: float) -> np.ndarray:
    """(height, width) or (height, width, 3) with 8 bits and even sizes."""
    values = np.asarray(torch.as_tensor(frame).detach().cpu(), dtype=np.float32)
    scaled = np.clip((values - low) * (255 / (high - low)), 0, 255)
    even = np.pad(scaled, [(0, 0), *((0, size % 2) for size in values.shape[1:])], mode="edge")
    picture = even[0] if len(even) == 1 else np.moveaxis(even, 0, -1)
    return np.ascontiguousarray(np.rint(picture).astype(np.uint8))
