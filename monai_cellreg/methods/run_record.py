"""What a folder of results says of the run that it came from."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..report.rendering import versions
from .registration import Registration
from .verdict import judge

__all__ = ["RECORD", "all_or_nothing", "read_told", "told"]

RECORD = "metrics.json"
OURS = re.compile(r"(warped|warped_label|transform|overlay|report|metrics)(\.\w+){0,2}")


def told(result: Registration, files: Mapping[str, str | int]) -> dict[str, Any]:
    """All that another person needs to do the same again.

    Args:
        result: the registration.
        files: names of files and numbers of pages by what they are.
    """
    verdict = judge(result)
    return {
        **files,
        "method": result.method,
        "metrics": result.metrics,
        "verdict": {"level": verdict.level, "reasons": list(verdict.reasons)},
        "account": list(result.account),
        "versions": versions(),
    }


def read_told(path: Path) -> dict[str, Any]:
    """What an earlier run has told in a file.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is damaged, or another program's.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"folder {path.parent} holds no {path.name}; expected the folder that 'register' has written to"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        missing = [name for name in ("fixed", "moving", "transform", "metrics", "method") if name not in content]
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"file {path} is damaged ({error}); expected what 'register' writes. Register again"
        ) from error
    if missing:
        raise ValueError(f"file {path} has no {', '.join(missing)}; expected what 'register' writes. Register again")
    return content


@contextmanager
def all_or_nothing(folder: Path) -> Iterator[Path]:
    """A temporary folder whose entries move to ``folder`` when the block ends well, and vanish when it does not.

    Files that an earlier run lists in its record and the new one does not write are removed.

    Args:
        folder: where the entries go.

    Yields:
        The folder to write to.

    Raises:
        IsADirectoryError: when an entry would take the place of a folder that no earlier run has written.
    """
    staging = Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder))
    try:
        yield staging
        new, old = {path.name for path in staging.iterdir()}, set(_files_of(folder / RECORD))
        for name in new - old:
            if (folder / name).is_dir():
                raise IsADirectoryError(
                    f"{name} cannot be written because {folder} holds a folder of that name; choose another folder"
                )
        for name in old - new:
            _remove(folder / name)
        for name in new:
            if (folder / name).is_dir() or (staging / name).is_dir():  # a DICOM series: os.replace refuses folders
                _remove(folder / name)
            os.replace(staging / name, folder / name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _files_of(record: Path) -> list[str]:
    """Names of what an earlier run wrote beside its record: those of our own files, whatever the record says."""
    try:
        names = json.loads(record.read_text(encoding="utf-8"))["files"]
        return [name for name in names if OURS.fullmatch(name)]
    except (OSError, ValueError, KeyError, TypeError):
        return []
