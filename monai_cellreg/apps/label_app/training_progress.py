"""How far a training on the datastore has come, in a file that the server reads while another process trains."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from ...methods.json_files import write_json

__all__ = ["TrainingRecord", "read_record"]

EPOCH = re.compile(r"^epoch (\d+)/\d+: (.+)$")
METRIC = re.compile(r"(\w+) (-?\d+\.\d+|-?inf|nan)(?:\s|$)")


class TrainingRecord(io.TextIOBase):
    """Stands in for the standard output of a training: passes everything on, and keeps what it tells of epochs.

    Args:
        path: file of the record.
        about: what it says beside the epochs; ``key_metric`` names the metric that chooses the best weights.
        resume: keep the epochs that the file tells of.
    """

    def __init__(self, path: Path, about: Mapping[str, Any], *, resume: bool) -> None:
        super().__init__()
        self.path, self.out, self.line = path, sys.stdout, ""
        validation = read_record(path).get("validation", {}) if resume else {}
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        self.content: dict[str, Any] = {"start_ts": started, **about, "validation": validation}
        self._save()

    def writable(self) -> bool:
        """It can be written to."""
        return True

    def write(self, text: str) -> int:
        """Passes text on; every line of a validation goes to the record."""
        self.out.write(text)
        *lines, self.line = (self.line + text).split("\n")
        for line in lines:
            if found := EPOCH.match(line):
                metrics = {name: float(value) for name, value in METRIC.findall(found[2])}
                self.content["validation"][found[1]] = metrics
                self._save()
                self.out.flush()  # a pipe to the server would keep it back
        return len(text)

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Adds what is known at the end."""
        self.content.update(facts)
        self._save()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block, what is printed comes here and progress bars are dropped; then logging is as it was."""
        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level
        try:
            with redirect_stdout(self), redirect_stderr(io.StringIO()):
                yield
        finally:
            root.handlers[:], root.level = handlers, level

    def _save(self) -> None:
        validation, key = self.content["validation"], self.content["key_metric"]
        scores = {int(epoch): metrics[key] for epoch, metrics in validation.items() if key in metrics}
        self.content["epoch"] = max((int(epoch) for epoch in validation), default=0)
        if scores:
            best = max(scores, key=lambda epoch: scores[epoch])
            self.content.update(best_metric=scores[best], best_epoch=best)
        write_json(self.path, self.content)


def read_record(path: Path) -> dict[str, Any]:
    """What a record says; empty where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
