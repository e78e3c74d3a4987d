"""Servers that run in processes of their own, on free ports."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Server:
    """A running server.

    Args:
        url: its address, without a slash at the end.
        studies: folder of images that it serves.
        work: its own folder.
        process: the process.
        log: file with what it writes onto stderr.
    """

    url: str
    studies: Path
    work: Path
    process: subprocess.Popen[str]
    log: Path

    def alive(self) -> bool:
        """Whether it runs and answers."""
        import requests

        return self.process.poll() is None and requests.get(f"{self.url}/openapi.json", timeout=60).ok

    def files(self) -> dict[str, str]:
        """Every file that requests could have written, by path, with a digest of what it holds."""
        paths = [path for folder in (self.studies, self.work) for path in sorted(folder.rglob("*"))]
        kept = [path for path in paths if path.is_file() and path.parent.name != "logs" and path.name != ".lock"]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


Serve = Callable[..., Server]


def start(studies: Path, work: Path, *options: str) -> Server:
    """Starts a server on a free port and waits until it says where it listens."""
    work.mkdir(exist_ok=True)
    log = work.parent / f"{work.name}.err"
    command = [sys.executable, "-m", "monai_cellreg", "label-server", studies, "--work", work, "--port", "0", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with log.open("w") as errors:
        process = subprocess.Popen(
            [str(word) for word in command], stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    if " served at http://" not in line:
        process.kill()
        raise AssertionError(f"the server did not start: {line}\n{log.read_text()}")
    return Server(line.split()[-1], studies, work, process, log)


def stop(server: Server) -> int:
    """Ends a server as Ctrl-C does it on other systems too; gives its exit status."""
    server.process.terminate()
    try:
        return server.process.wait(30)
    finally:
        server.process.kill()


@pytest.fixture(scope="module")
def serve(made_studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Gives a function that starts a server with more options, and an app of its own where ``main`` is its text."""
    servers: list[Server] = []

    def started(*options: str, main: str = "") -> Server:
        folder = tmp_path_factory.mktemp("served")
        studies = Path(shutil.copytree(made_studies, folder / "studies"))
        work = folder / "work"
        if main:
            work.mkdir()
            (work / "main.py").write_text(main)
        servers.append(start(studies, work, *options))
        return servers[-1]

    yield started
    for server in servers:
        stop(server)


@pytest.fixture(scope="module")
def server(serve: Serve) -> Server:
    """A server of the made studies, with the usual settings."""
    return serve()
