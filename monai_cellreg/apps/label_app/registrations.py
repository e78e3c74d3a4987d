"""Registrations of the server, each done once however many models are asked for it."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Hashable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from threading import Lock

from ...data import read_image
from ...geometry import SamplingGrid
from ...methods import METHODS, Method, Registration, method_names, register
from .labels import label_on
from .own_process import KEEP_THE_LOCK, own_process
from .pairs import ReferencePair
from .refusals import refused
from .trained import load_trained, trained_names

__all__ = ["Registrations"]

REMEMBERED = 4  # registrations; a volume takes tens of megabytes


class Registrations:
    """Registers pairs, and remembers the last few: labels, field and transform of one pair belong together.

    May be called from several threads; of those that ask for the same at once, one registers and the others wait.

    Args:
        app_dir: folder of the app, with the methods that were trained on the server.
    """

    def __init__(self, app_dir: str | os.PathLike[str]) -> None:
        self.app_dir = Path(app_dir)
        self._lock = Lock()
        self._known: OrderedDict[Hashable, Future[Registration]] = OrderedDict()

    def methods(self) -> list[str]:
        """Names of all methods, ours first."""
        return [*method_names(), *trained_names(self.app_dir)]

    def method(self, name: str) -> str | Method:
        """The method of a name, as :func:`monai_cellreg.register` takes it.

        Raises:
            ValueError: when weights that were trained cannot be used any more.
        """
        if name in KEEP_THE_LOCK:
            return own_process(name)
        return name if name in METHODS else load_trained(self.app_dir, name)

    def __call__(self, pair: ReferencePair) -> Registration:
        """The registration of a pair, done before where files and method are the same.

        Raises:
            HTTPException: 422, when the images cannot be read or registered.
        """
        with refused(pair.names):
            method = self.method(pair.method)
            key = (method, *(_stamp(path) for path in (pair.fixed, pair.moving, pair.fixed_label, pair.moving_label)))
            with self._lock:
                found = self._known.get(key)
                is_mine = found is None
                if found is None:
                    found = self._known[key] = Future()
                    while len(self._known) > REMEMBERED:
                        self._known.popitem(last=False)
                self._known.move_to_end(key)
            if is_mine:
                self._fulfil(key, found, pair, method)
            return found.result()

    def _fulfil(self, key: Hashable, found: Future[Registration], pair: ReferencePair, method: str | Method) -> None:
        """Registers for all who wait; a failure is not remembered."""
        try:
            found.set_result(_register(pair, method))
        except BaseException as error:
            with self._lock:
                self._known.pop(key, None)
            found.set_exception(error)


def _stamp(path: Path | None) -> Hashable:
    """What changes when a file does."""
    if path is None:
        return None
    state = path.stat()
    return str(path), state.st_mtime_ns, state.st_size


def _register(pair: ReferencePair, method: str | Method) -> Registration:
    fixed, moving = (read_image(path, color="keep") for path in (pair.fixed, pair.moving))
    fixed_label, moving_label = (
        None if path is None else label_on(path, SamplingGrid.from_image(image))
        for path, image in ((pair.fixed_label, fixed), (pair.moving_label, moving))
    )
    found = register(fixed, moving, method=method, fixed_label=fixed_label, moving_label=moving_label)
    return replace(found, method=pair.method)  # by the name that it was asked for
