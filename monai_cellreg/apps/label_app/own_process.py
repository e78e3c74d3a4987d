"""Methods whose libraries keep Python's lock while they compute, run where that stops no other request."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache

from ...geometry import Pair, SpatialTransform
from ...methods import load_method

__all__ = ["KEEP_THE_LOCK", "OwnProcess", "own_process"]

KEEP_THE_LOCK = ("elastix", "ants")
"""Names of methods; a server that runs one of them on a thread answers nothing else for seconds."""


class OwnProcess:
    """A method that registers in a process of its own, which starts with the first pair and is kept, one at a time.

    Args:
        name: of the method.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None

    def register(self, pair: Pair) -> SpatialTransform:
        """Fixed world points to moving world points.

        Raises:
            RuntimeError: when the process was ended from outside; the next pair gets a new one.
            Exception: whatever the method raises.
        """
        try:
            with self._lock:
                # spawned, not forked: threads of the server may hold locks at this moment
                self._pool = self._pool or ProcessPoolExecutor(
                    1, multiprocessing.get_context("spawn"), initializer=_end_with_the_server
                )
                found = self._pool.submit(_register, self.name, pair)
            return found.result()
        except BrokenProcessPool as error:
            with self._lock:
                self._pool = None
            raise RuntimeError(
                f"the process of method {self.name!r} was ended, as systems do that run out of memory; use smaller "
                "images or another method"
            ) from error


@cache
def own_process(name: str) -> OwnProcess:
    """The method of a name in its own process, the same one whenever it is asked for."""
    return OwnProcess(name)


def _end_with_the_server() -> None:
    """Runs in the new process: Ctrl-C is the server's to handle, and a server that is killed can end no one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = multiprocessing.parent_process()
    assert server is not None

    def wait() -> None:
        server.join()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def _register(name: str, pair: Pair) -> SpatialTransform:
    return load_method(name).register(pair)
