"""Results as JSON that every program reads."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from ..utils import atomic_path

__all__ = ["write_json"]


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Writes a file of indented JSON, completely or not at all; NaN and infinity, which JSON lacks, become ``null``.

    Args:
        path: file to write or replace.
        content: dictionaries, lists, tuples, text and numbers.

    Raises:
        OSError: when the file cannot be written.
    """
    text = json.dumps(_strict(content), indent=2, allow_nan=False, ensure_ascii=False)
    with atomic_path(path) as temporary:
        Path(temporary).write_text(text + "\n", encoding="utf-8")


def _strict(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _strict(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_strict(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
