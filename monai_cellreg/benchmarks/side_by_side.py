"""Trainings in processes of their own, several at a time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from tqdm import tqdm

__all__ = ["Task", "run_side_by_side"]

POLL_SECONDS = 2.0


class Task(Protocol):
    """A training that leaves its result in a folder. It can be pickled."""

    def run(self) -> Any:
        """Does what is not yet done."""

    def share_done(self) -> float:
        """How much is done, from 0 to 1; another process asks."""


def run_side_by_side(tasks: Sequence[Task], jobs: int, *, progress: bool = False) -> None:
    """Runs trainings, one thread each; when one fails the others are ended.

    Args:
        tasks: what is to be done.
        jobs: processes at a time, at most.
        progress: show a progress bar on stderr.
    """
    if not tasks:
        return
    with (
        _workers(min(jobs, len(tasks))) as pool,
        tqdm(total=100, desc="training", unit="%", disable=not progress, leave=False) as bar,
    ):
        futures = [pool.submit(_run_alone, task) for task in tasks]
        waiting: set[Future[None]] = set(futures)
        while waiting:
            done, waiting = wait(waiting, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()  # raises what the training has raised
            shares = [1.0 if f.done() else task.share_done() for f, task in zip(futures, tasks, strict=True)]
            bar.update(int(100 * sum(shares) / len(shares)) - bar.n)


def _run_alone(task: Task) -> None:
    """Runs in a process of its own, on one thread."""
    torch.set_num_threads(1)
    task.run()


@contextmanager
def _workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes of their own for the trainings, which are ended when anything goes wrong here."""
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool
    except BaseException:
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()  # what was trained is kept epoch by epoch
        raise
    finally:
        pool.shutdown(cancel_futures=True)
