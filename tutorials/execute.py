"""Runs the notebooks of this folder from top to bottom and saves them with what they show: ``make tutorials``."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).resolve().parent
LIMIT_S = 600.0  # busy machines take ten times as long as quiet ones
NEEDS = {"05_monai_label.ipynb": "monailabel"}
"""Modules beyond the package's extra ``dev``, which are in another environment: see ``make test-label``."""
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

# Runs in the kernel before the first cell. Connections within the machine are left alone.
OFFLINE = """
import ipaddress, socket

def _local(address):
    host = address[0] if isinstance(address, tuple) else None
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

def _guarded(connect):
    def guarded(self, address):
        if not _local(address):
            raise OSError(f"tutorials work without network, but a cell wants to reach {address}")
        return connect(self, address)
    return guarded

socket.socket.connect = _guarded(socket.socket.connect)
socket.socket.connect_ex = _guarded(socket.socket.connect_ex)
"""


def notebook_paths() -> list[Path]:
    """The notebooks, in the order of their numbers."""
    return sorted(FOLDER.glob("*.ipynb"))


def missing(path: Path) -> str:
    """Name of a module that a notebook needs and this environment lacks; empty when there is none."""
    module = NEEDS.get(path.name, "")
    return module if module and importlib.util.find_spec(module) is None else ""


def execute(notebook: NotebookNode, *, limit_s: float = LIMIT_S) -> NotebookNode:
    """A notebook with fresh outputs, run in a new folder that vanishes, without network.

    Args:
        notebook: it is left as it is.
        limit_s: seconds for all cells together.

    Raises:
        nbclient.exceptions.CellExecutionError: when a cell fails.
        nbclient.exceptions.CellTimeoutError: when the time is over.
    """
    fresh = nbformat.from_dict(notebook)
    end = time.monotonic() + limit_s
    with tempfile.TemporaryDirectory() as folder, _settings_apart(Path(folder)):
        work = Path(folder, "work")
        work.mkdir()
        NotebookClient(
            fresh,
            timeout_func=lambda cell: max(1, int(end - time.monotonic())),
            kernel_name="python3",
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
            record_timing=False,
            resources={"metadata": {"path": str(work)}},
        ).execute()
    return normalised(fresh)


def normalised(notebook: NotebookNode) -> NotebookNode:
    """A notebook without what depends on the program or machine that ran it, so that two runs differ little."""
    clean = nbformat.from_dict(notebook)
    clean.metadata = nbformat.from_dict(METADATA)
    for cell in clean.cells:
        cell.metadata = NotebookNode()
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output.metadata = NotebookNode()
    return clean


@contextmanager
def _settings_apart(folder: Path) -> Iterator[None]:
    """The user's own Jupyter and IPython settings, kernels and history are neither read nor written."""
    startup = folder / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00-offline.py").write_text(OFFLINE, encoding="utf-8")
    apart = {
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTER_PLATFORM_DIRS": "1",
    }
    before = {name: os.environ.get(name) for name in apart}
    os.environ.update(apart)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def main(arguments: Sequence[str] | None = None) -> int:
    """Executes the notebooks that are named, or all, and saves each when it has run to its end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, help="notebooks to run (default: all)")
    named = parser.parse_args(arguments).notebooks
    for path in named or notebook_paths():
        if not named and (module := missing(path)):
            print(f"{path.name}: left out, {module} is not in this environment, see make test-label")
            continue
        start = time.monotonic()
        notebook = execute(nbformat.read(path, as_version=4))
        nbformat.write(notebook, path)
        print(f"{path.name}: {time.monotonic() - start:.0f} s, {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
