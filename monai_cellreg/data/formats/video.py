"""Compressed films by imageio and the ffmpeg that imageio-ffmpeg brings."""

from __future__ import annotations

from pathlib import Path

import imageio.v2 as imageio
import numpy as np

from .record import OpenOptions, Stored


class VideoFile:
    """An opened film; its frames are pages. A film whose first frame is grey is grey."""

    def __init__(self, path: Path, options: OpenOptions) -> None:
        self.file = imageio.get_reader(path, "ffmpeg")
        self.pages = int(self.file.count_frames())
        rate = float(self.file.get_meta_data().get("fps") or 0)
        self.header = {"seconds_per_frame": 1 / rate} if rate > 0 else {}
        first = np.asarray(self.file.get_data(0))
        self.grey = bool((first[..., :1] == first).all())

    def read(self, page: int) -> Stored:
        array = np.asarray(self.file.get_data(page))
        return Stored(array[..., 0] if self.grey else array, in_colour=not self.grey, header=dict(self.header))

    def close(self) -> None:
        self.file.close()
