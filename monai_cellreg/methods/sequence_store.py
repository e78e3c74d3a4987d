"""The maps of a movie on disk, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import uuid
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from .. import __version__
from ..geometry import SamplingGrid, read_transform, write_transform
from ..inferers import FrameMap
from ..inferers.sequence import Frames, Key
from ..utils import ensure_writable_dir, plain
from .json_files import write_json
from .method import Method
from .table import load_method, method_name

logger = logging.getLogger(__name__)

MANIFEST = "sequence.json"
STATE = ("training", "_non_persistent_buffers_set")  # of a network: the mode that it is in, and a set without order
DIGITS = 3  # of a frame's number in file names, at least


def transform_name(t: int, count: int) -> str:
    """File name of the map of frame t in a movie of ``count`` frames, so that names sort as frames do."""
    return f"t{t:0{max(DIGITS, len(str(count - 1)))}d}.h5"


def movie_hash(frames: Frames) -> str:
    """A hash of all pixels of a movie and of where they lie."""
    digest = hashlib.blake2b(digest_size=16)
    for t in range(len(frames)):
        frame = frames.frame(t)
        grid = SamplingGrid.from_image(frame)
        digest.update(repr((tuple(frame.shape), str(frame.dtype), grid.frame, grid.unit)).encode())
        digest.update(grid.affine.tobytes())
        digest.update(np.ascontiguousarray(plain(frame).numpy()).tobytes())
    return digest.hexdigest()


def method_hash(method: str | Method) -> str:
    """What tells a method from another: its name, and a hash of its settings and of the weights of its networks.

    A method that cannot be pickled is known by its name in the table alone, and outside of it is never the same again.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        _Settings(_Writer(digest.update)).dump(load_method(method) if isinstance(method, str) else method)
    except (pickle.PicklingError, AttributeError, RuntimeError, TypeError):
        return method if isinstance(method, str) else uuid.uuid4().hex
    return f"{method_name(method)} {digest.hexdigest()}"


class _Writer(NamedTuple):
    """A file whose content goes elsewhere."""

    write: Callable[[bytes], object]


class _Settings(pickle.Pickler):
    """Pickles networks as their settings and numbers, which are the same in every process, used or not."""

    def reducer_override(self, obj: object) -> Any:
        """A network without its state, a tensor as its numbers; all else as always."""
        if isinstance(obj, nn.Module):
            return type(obj), ({name: value for name, value in vars(obj).items() if name not in STATE},)
        if isinstance(obj, torch.Tensor):
            numbers = obj.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            return torch.Tensor, (str(obj.dtype), tuple(obj.shape), numbers)
        return NotImplemented


class StoredMaps(MutableMapping[Key, FrameMap]):
    """Maps of a run as ITK files, with a manifest of what they belong to.

    A map that was written once is always read back, also by the run that has found it, so that a run with and one
    without interruption give the same. Maps that failed are forgotten when the folder is opened again. A folder of
    another movie, method or reference loses its maps. Where what is found is not yet what is wanted, as in the rounds
    of a group mean or before smoothing, it lies apart, so that the final maps have their place.

    Args:
        folder: for the manifest; the maps lie in its ``transforms``, or apart, by rounds, in ``transforms/rounds``.
        frames: the movie, all of whose frames lie on one grid.
        method: the method, as :func:`method_hash` names it.
        reference: see :class:`~monai_cellreg.inferers.SequenceRegistration`.
        apart: the maps are no final ones. Those of a run that differs in this alone are moved.
    """

    def __init__(self, folder: Path, frames: Frames, method: str, reference: str | int, *, apart: bool = False) -> None:
        self.folder, self.count = ensure_writable_dir(folder), len(frames)
        self.grid = SamplingGrid.from_image(frames.frame(0))
        self.run = {"movie": movie_hash(frames), "method": method, "reference": reference, "version": __version__}
        self.apart = apart or reference == "mean"
        self.rows: dict[str, dict[str, Any]] = {}
        known = self._manifest()
        if known.get("run") == self.run:
            self.rows = {name: row for name, row in known["frames"].items() if row["flag"] != "failed"}
            self._gather(bool(known.get("apart")))
            logger.info("%d of the maps in %s are used again", len(self.rows), self.folder)
        elif known:
            for pattern in ("t[0-9]*.h5", "rounds/*/t[0-9]*.h5"):
                for path in (self.folder / "transforms").glob(pattern):
                    path.unlink()
        self._write()

    def __getitem__(self, key: Key) -> FrameMap:
        row = self.rows[_name(key)]
        similarity = float("nan") if row["similarity"] is None else row["similarity"]
        return FrameMap(read_transform(self._path(key), self.grid.frame), **{**row, "similarity": similarity})

    def __setitem__(self, key: Key, value: FrameMap) -> None:
        write_transform(self._path(key), value.transform, self.grid)
        self.rows[_name(key)] = {
            "flag": value.flag,
            "similarity": value.similarity,
            "seconds": value.seconds,
            "reason": value.reason,
        }
        self._write()

    def __delitem__(self, key: Key) -> None:
        del self.rows[_name(key)]
        self._write()
        self._path(key).unlink(missing_ok=True)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and _name(key) in self.rows and self._path(key).is_file()

    def __iter__(self) -> Iterator[Key]:
        for name in self.rows:
            turn, t = name.split("/")
            yield int(turn), int(t)

    def __len__(self) -> int:
        return len(self.rows)

    def _path(self, key: Key, *, apart: bool | None = None) -> Path:
        turn, t = key
        folder = self.folder / "transforms"
        is_apart = self.apart if apart is None else apart
        return (folder / "rounds" / str(turn) if is_apart else folder) / transform_name(t, self.count)

    def _gather(self, was_apart: bool) -> None:
        """Moves the maps from where another run has left them; one that was stopped on the way can be taken up."""
        if was_apart == self.apart:
            return
        for key in self:
            old, new = self._path(key, apart=was_apart), self._path(key)
            if old.is_file():
                new.parent.mkdir(parents=True, exist_ok=True)
                old.replace(new)

    def _manifest(self) -> dict[str, Any]:
        """What the folder says of itself; nothing where it says nothing that can be read."""
        try:
            known = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _write(self) -> None:
        write_json(self.folder / MANIFEST, {"run": self.run, "apart": self.apart, "frames": self.rows})


def _name(key: Key) -> str:
    return f"{key[0]}/{key[1]}"
