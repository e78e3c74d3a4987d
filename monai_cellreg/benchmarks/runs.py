"""Trainings and evaluations of a bundle, as the benchmarks need them: done once, and kept with what they were told."""

from __future__ import annotations

import csv
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..methods import run_bundle
from ..methods.json_files import write_json
from ..utils import ensure_writable_dir

__all__ = [
    "WEIGHTS",
    "evaluated",
    "fingerprint",
    "is_finished",
    "learning_curve",
    "settings_of",
    "share_done",
    "trained",
]

WEIGHTS, LAST, RECORD, LOG = "model.pt", "last.pt", "settings.json", "log.txt"


def trained(
    name: str, folder: Path, settings: Mapping[str, Any], *, overlays: Sequence[str] = (), resume: bool = True
) -> Path:
    """Trains a bundle, unless the folder holds that very training; one that was stopped goes on where it was.

    What the bundle prints goes to ``log.txt``; ``settings.json`` keeps what it was told.

    Args:
        name: of the bundle.
        folder: of the run.
        settings: overrides of its ``train.json``.
        overlays: further configuration files of the bundle, which change ``train.json`` before the overrides do.
        resume: ``False`` starts again whatever the folder holds.

    Returns:
        The best weights.

    Raises:
        ValueError: when the folder holds a training with other settings.
    """
    files = {"overlays": list(overlays)} if overlays else {}
    told = json.loads(json.dumps({"bundle": name, **files, **settings}))
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    record = _record(folder)
    if record and record["settings"] != told:
        raise ValueError(
            f"folder {folder} holds a training with the settings {record['settings']}, expected {told}; choose another "
            "folder, or start again with --no-resume"
        )
    if not record.get("finished"):
        write_json(ensure_writable_dir(folder) / RECORD, {"settings": told, "finished": False})
        with _logged(folder / LOG):
            stopped = (folder / LAST).is_file()
            run_bundle(name, list(overlays), {**settings, "output_dir": str(folder), "resume": stopped})
        write_json(folder / RECORD, {"settings": told, "finished": True})
    return folder / WEIGHTS


def evaluated(name: str, folder: Path, settings: Mapping[str, Any], *, weights: Path) -> list[dict[str, float]]:
    """The figures of made pairs that were never trained on, registered in a single pass as in the paper.

    Args:
        name: of the bundle.
        folder: for the results, which are read back when they are of the same weights and settings.
        settings: overrides, those of the training among them.
        weights: what is evaluated.

    Returns:
        One dictionary a pair: metric to value.
    """
    told = json.loads(json.dumps({"bundle": name, "weights": fingerprint(weights), **settings}))
    result = folder / "pairs.csv"
    if not result.is_file() or _record(folder).get("settings") != told:
        result.unlink(missing_ok=True)
        ensure_writable_dir(folder)
        overrides = {**settings, "output_dir": str(folder), "checkpoint": str(weights), "passes": 1}
        with _logged(folder / LOG):
            run_bundle(name, ["evaluate.json"], overrides)
        write_json(folder / RECORD, {"settings": told, "finished": True})
    with open(result, newline="") as file:
        return [{k: float(v) for k, v in row.items() if k not in ("pair", "group")} for row in csv.DictReader(file)]


def is_finished(folder: Path) -> bool:
    """Whether a training or an evaluation in a folder has come to its end."""
    return bool(_record(folder).get("finished"))


def settings_of(folder: Path) -> dict[str, Any]:
    """What the training in a folder was told; empty where nothing tells it."""
    return _record(folder).get("settings", {})


def share_done(folder: Path) -> float:
    """The share of a training's epochs that its log tells of, from 0 to 1."""
    told = re.findall(r"^epoch (\d+)/(\d+): ", _log_of(folder), re.MULTILINE)
    return int(told[-1][0]) / int(told[-1][1]) if told else 0.0


def learning_curve(folder: Path, metric: str) -> dict[int, float]:
    """Epoch to the value of a metric of the validation, as the log of a training tells it; empty without a log."""
    number = r"(-?(?:\d+\.\d+|nan|inf))"
    told = re.findall(rf"^epoch (\d+)/\d+: (?:.* )?{re.escape(metric)} {number}", _log_of(folder), re.MULTILINE)
    return {int(epoch): float(value) for epoch, value in told}


def fingerprint(weights: Path) -> str:
    """Text that differs for other weights."""
    return sha256(weights.read_bytes()).hexdigest()[:16]


def _log_of(folder: Path) -> str:
    path = folder / LOG
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Adds what is printed to a file, drops progress bars, and takes back what a bundle does to logging."""
    root = logging.getLogger()
    handlers, level, disabled = list(root.handlers), root.level, logging.root.manager.disable
    logging.disable(logging.ERROR)  # MONAI's loggers hold on to the terminal
    try:
        with path.open("a", buffering=1, encoding="utf-8") as log, open(os.devnull, "w") as nowhere:
            with redirect_stdout(log), redirect_stderr(nowhere):
                yield
    finally:
        logging.disable(disabled)
        root.handlers[:], root.level = handlers, level
