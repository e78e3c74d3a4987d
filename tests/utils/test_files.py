"""A file is whole or absent, whatever happens in between, and folders that cannot be written are named early."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

import pytest

from monai_cellreg.utils import atomic_path, ensure_writable_dir


def names(folder: Path) -> list[str]:
    """All entries of a folder, hidden ones too."""
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("name", ["scan.nii.gz", "cells_0.5um.ome.tif", "metrics.json", "model"])
def test_atomic_path_ends_alike_lies_beside_and_leaves_one_file(tmp_path: Path, name: str) -> None:
    final = tmp_path / "new" / "folder" / name
    with atomic_path(final) as temporary:
        assert temporary.parent == final.parent
        assert temporary != final
        assert temporary.suffixes == final.suffixes
        temporary.write_text("content")
        assert not final.exists()
    assert names(final.parent) == [name]
    assert final.read_text() == "content"


def test_atomic_path_replaces_and_takes_text(tmp_path: Path) -> None:
    final = tmp_path / "model.pt"
    final.write_text("old")
    with atomic_path(str(final)) as temporary:
        temporary.write_text("new")
        assert final.read_text() == "old"
    assert final.read_text() == "new"


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt])
def test_atomic_path_keeps_the_old_file_when_the_block_fails(tmp_path: Path, stop: type[BaseException]) -> None:
    final = tmp_path / "model.pt"
    final.write_text("old")
    with pytest.raises(stop, match="half way"), atomic_path(final) as temporary:
        temporary.write_text("part")
        raise stop("half way")
    assert names(tmp_path) == ["model.pt"]
    assert final.read_text() == "old"


def test_atomic_path_twice_at_once_uses_two_files(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.txt") as first, atomic_path(tmp_path / "a.txt") as second:
        assert first != second
        first.write_text("outer, renamed last")
        second.write_text("inner")
    assert (tmp_path / "a.txt").read_text() == "outer, renamed last"


def test_atomic_path_gives_the_permissions_of_a_plain_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with atomic_path(tmp_path / "atomic") as temporary:
        temporary.write_text("")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "atomic")}
    assert len(modes) == 1


def test_atomic_path_wants_the_file_to_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^nothing was written for .*a\.txt"), atomic_path(tmp_path / "a.txt"):
        pass
    assert names(tmp_path) == []


def test_atomic_path_refuses_a_folder(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="because a folder has that name"), atomic_path(tmp_path):
        pass


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_file_in_the_way_is_named(tmp_path: Path, below: str) -> None:
    obstacle = tmp_path / "results"
    obstacle.write_text("a file")
    with pytest.raises(NotADirectoryError, match=rf"because {obstacle} is not a folder; move it away"):
        ensure_writable_dir(obstacle / below)


def test_ensure_writable_dir_makes_parents_and_leaves_no_trace(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert ensure_writable_dir(str(folder)) == folder
    assert ensure_writable_dir(folder) == folder
    assert names(folder) == []


def test_read_only_file_system_is_a_permission_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, dir: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(dir))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(
        PermissionError, match=rf"folder {tmp_path} cannot be written \(Read-only file system\); choose"
    ):
        ensure_writable_dir(tmp_path)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs the /proc file system of Linux")
def test_folder_that_cannot_be_made_is_a_permission_error() -> None:
    with pytest.raises(PermissionError, match=r"^folder /proc/results cannot be made \(.*\); choose a folder"):
        ensure_writable_dir("/proc/results")


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="the superuser may write to every folder")
def test_folder_without_write_permission(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(PermissionError, match=r"cannot be written \(Permission denied\)"):
        ensure_writable_dir(tmp_path)
