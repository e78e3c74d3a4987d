"""How the server starts, where it writes, what it warns of, and how it ends."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tifffile

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")
import requests
from filelock import FileLock

from monai_cellreg.apps.label_app import serve as launcher


def test_it_says_where_it_listens_writes_only_into_its_folders_and_ends_cleanly(serve: Callable[..., Any]) -> None:
    server = serve("--origin", "https://viewer.org")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", server.url)
    info = requests.get(f"{server.url}/info/", timeout=60, headers={"Origin": "https://viewer.org"})
    assert info.headers["access-control-allow-origin"] == "https://viewer.org"
    assert info.json()["datastore"]["total"] == 8 and "propagate_labels" in info.json()["models"]
    assert "/info/" not in server.log.read_text()
    assert requests.get(f"{server.url}/logs/?text=true", timeout=60).text
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(30) == 0
    assert server.process.stdout.read() == ""
    assert server.log.read_text() == ""
    assert {path.name for path in server.work.iterdir()} == {".lock", "main.py", "logs", "model", "sessions"}
    assert {path.name for path in server.studies.iterdir()} >= {"labels", "datastore_v2.json", "frame_0.png"}


def test_uploads_do_not_outlast_the_server(serve: Callable[..., Any], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    server = serve("--host", "0.0.0.0", "--verbose")
    (folder,) = tmp_path.glob("monai-cellreg-label-*")
    requests.get(f"{server.url.replace('0.0.0.0', '127.0.0.1')}/datastore/dataset", timeout=60)  # MONAI Label leaves it
    assert list(folder.iterdir())
    assert "without authentication: anyone there can read and change" in server.log.read_text()
    server.process.terminate()
    assert server.process.wait(30) == 0
    assert not folder.exists()


def test_a_port_that_is_in_use(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"--port {port} is in use at 127.0.0.1; choose another"):
            serve_(tmp_path, port=port)


@pytest.mark.parametrize(("host", "reason"), [("no.such.host.invalid", "no address"), ("192.0.2.1", "listened at")])
def test_an_address_of_another_machine(tmp_path: Path, host: str, reason: str) -> None:
    with pytest.raises(OSError, match=f"--host .*{reason}"):
        serve_(tmp_path, host=host, port=0)


def test_a_work_folder_is_for_one_server(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    with FileLock(tmp_path / "work" / ".lock"), pytest.raises(ValueError, match="--work is .*, which another server"):
        serve_(tmp_path, port=0)


def serve_(folder: Path, **options: Any) -> None:
    (folder / "studies").mkdir()
    launcher.serve(launcher.ServerOptions(studies=folder / "studies", work=folder / "work", **options))


def test_a_folder_without_images_is_served_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    command = [sys.executable, "-m", "monai_cellreg", "label-server", tmp_path / "empty", "--work", tmp_path / "w"]
    with subprocess.Popen(
        [str(word) for word in [*command, "--port", "0"]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline().startswith("0 images of ")
        finally:
            process.terminate()
        assert "WARNING: no image in" in process.stderr.read()


def test_the_guide_says_what_works(serve: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve()
    guide = (Path(__file__).resolve().parents[4] / "docs" / "label_server.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    (curl,) = re.findall(r"^curl .*$", guide, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    exec(compile(block.replace("http://127.0.0.1:8000", server.url), "docs/label_server.md", "exec"), {})
    carried = tifffile.imread(tmp_path / "frame_1_labels.tif")
    assert carried.shape == (80, 96) and carried.max() == 1
    path, params = shlex.split(curl)[3].split("8000")[1], shlex.split(curl)[2].removeprefix("params=")
    asked = {"params": json.dumps({**json.loads(params), "method": "affine"})}  # quicker than the guide's
    answer = requests.post(server.url + path, data=asked, timeout=120)
    assert answer.content[:4] == b"\x89PNG"
    for model in re.findall(r"^\| `(\w+)` \|", guide, re.MULTILINE):
        assert model in requests.get(f"{server.url}/info/", timeout=60).json()["models"]
