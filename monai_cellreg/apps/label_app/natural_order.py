"""Ids in the order in which people number them."""

from __future__ import annotations

import re

__all__ = ["natural_order"]


def natural_order(image_id: str) -> tuple[tuple[int, str, int], ...]:
    """A key by which ids sort as people number them: frame_2 before frame_10.

    Example:
        >>> sorted(["frame_10", "frame_2", "frame_02b", "day"], key=natural_order)
        ['day', 'frame_2', 'frame_02b', 'frame_10']
    """
    parts = re.split(r"(\d+)", image_id)
    return tuple((0, "", int(part)) if part.isdecimal() else (1, part, 0) for part in parts if part)
