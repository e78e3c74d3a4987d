"""A server that infers answers other requests meanwhile, and infers no more at a time than it is told to."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")
import requests

WORKERS = 2
MAIN = '''
import time
from pathlib import Path

from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask

from monai_cellreg.apps.label_app.app import RegistrationApp


class Waiting(InferTask):
    """Says that it has begun, and ends when it is let go."""

    def __init__(self, folder):
        super().__init__("others", None, 2, "waits")
        self.folder = Path(folder)

    def is_valid(self):
        return True

    def __call__(self, request):
        (self.folder / f"begun-{request['turn']}").touch()
        while not (self.folder / f"go-{request['turn']}").exists():
            time.sleep(0.02)
        return None, {"turn": request["turn"]}


class App(RegistrationApp, MONAILabelApp):  # MONAI Label takes the first class that has its own among its bases
    def init_infers(self):
        return {**super().init_infers(), "waiting": Waiting(self.app_dir)}
'''


@pytest.fixture(scope="module")
def server(serve: Callable[..., Any]) -> Any:
    """A server with a model that takes as long as the test wants."""
    return serve("--workers", str(WORKERS), main=MAIN)


def wait_for(path: Path) -> None:
    """Waits until a file is there."""
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} does not come"
        time.sleep(0.02)


def begin(server: Any, pool: ThreadPoolExecutor, turn: int) -> Future[requests.Response]:
    """An inference that ends when ``go-<turn>`` is there."""
    url = f"{server.url}/infer/waiting?image=frame_0"
    return pool.submit(requests.post, url, data={"params": f'{{"turn": {turn}}}'}, timeout=120)


def test_other_requests_are_answered_during_inference_and_inferences_wait_for_each_other(server: Any) -> None:
    turns = range(WORKERS + 1)
    encoded = io.BytesIO()
    Image.fromarray(np.zeros((80, 96), np.uint8)).save(encoded, "PNG")
    with ThreadPoolExecutor(len(turns)) as pool:
        try:
            running = [begin(server, pool, turn) for turn in turns]
            end = time.monotonic() + 60
            while len(list(server.work.glob("begun-*"))) < WORKERS and time.monotonic() < end:
                time.sleep(0.02)
            assert requests.get(f"{server.url}/info/", timeout=60).json()["models"]["waiting"]["type"] == "others"
            put = requests.put(
                f"{server.url}/datastore/label?image=frame_1&tag=final",
                files={"label": ("frame_1.png", encoded.getvalue())},
                timeout=60,
            )
            assert put.json()["label"] == "frame_1"
            assert requests.get(f"{server.url}/datastore/image?image=frame_1", timeout=60).content[:4] == b"\x89PNG"
            assert not any(answer.done() for answer in running)
            assert len(list(server.work.glob("begun-*"))) == WORKERS
        finally:
            for turn in turns:
                (server.work / f"go-{turn}").touch()
        assert sorted(answer.result().json()["turn"] for answer in running) == list(turns)
    for turn in turns:
        wait_for(server.work / f"begun-{turn}")
