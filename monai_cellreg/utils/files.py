"""Files that are either complete or absent, and folders known to be writable before the work starts."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["atomic_path", "ensure_writable_dir"]


def ensure_writable_dir(path: str | os.PathLike[str]) -> Path:
    """A folder that exists and takes files, made with its parents where it is missing.

    Writing is tried, not read off the permission bits, so that read-only file systems are found as well.

    Args:
        path: the folder.

    Returns:
        The folder as a ``Path``.

    Raises:
        NotADirectoryError: if the path, or a parent of it, is something other than a folder.
        PermissionError: if the folder cannot be made or takes no files.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        obstacle = next((p for p in (folder, *folder.parents) if p.exists() and not p.is_dir()), folder)
        raise NotADirectoryError(
            f"folder {folder} cannot be made because {obstacle} is not a folder; move it away or choose another folder"
        ) from error
    except OSError as error:
        raise PermissionError(
            f"folder {folder} cannot be made ({error.strerror}); choose a folder that you may write to"
        ) from error
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise PermissionError(
            f"folder {folder} cannot be written ({error.strerror}); choose a folder that you may write to"
        ) from error
    return folder


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path that becomes ``path`` when the block ends well and vanishes when it does not.

    The temporary file lies in the same folder and its name ends like the final one, so that a writer which picks its
    format by the suffix (``.nii.gz``, ``.ome.tif``) picks the same. An existing file is replaced in one step: a
    reader, or a run that is killed, finds the old file or the new one and never a part.

    Args:
        path: the final file; its folder is made where it is missing.

    Yields:
        The path to write to.

    Raises:
        IsADirectoryError: if ``path`` is a folder.
        NotADirectoryError: if something other than a folder is in the way of the file's folder.
        PermissionError: if the file's folder cannot be made or written.
        FileNotFoundError: if the block ended well without writing the file.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> with atomic_path(folder / "metrics.json") as temporary:
        ...     size = temporary.write_text("{}")
        >>> [entry.name for entry in folder.iterdir()]
        ['metrics.json']
    """
    final = Path(path)
    if final.is_dir():
        raise IsADirectoryError(f"file {final} cannot be written because a folder has that name; choose another name")
    temporary = ensure_writable_dir(final.parent) / f".tmp-{uuid.uuid4().hex[:8]}-{final.name}"
    try:
        yield temporary
        if not temporary.exists():
            raise FileNotFoundError(f"nothing was written for {final}; write to the path that atomic_path gives")
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)
