"""The client against a server of a few lines that speaks as MONAI Label does."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from monai_cellreg.benchmarks.label_client import LabelClient, LabelServerError, parts_of

requests = pytest.importorskip("requests", reason="requests is not installed: make test-label")

FILE = bytes(range(256)) + b"\r\n--other\r\n\n\r" + bytes(reversed(range(256))) + b"\r\n"
STATES = ["SUBMITTED", "RUNNING", "DONE"]


class Handler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, content: object, status: int = 200, kind: str = "application/json") -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.server.seen.append(("GET", self.path, self.headers.get("Authorization"), ""))
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if path == "/info/":
            self.answer({"name": "test"})
        elif path == "/batch/infer":
            self.answer({"status": self.server.states.pop(0), "details": ["one", "the last line"]})
        elif path == "/datastore/label":
            self.answer(FILE, kind="image/tiff")
        elif path == "/datastore/label/info":
            self.answer({"params": query})
        else:
            self.answer(b"nothing here", 500, "text/plain")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.seen.append(("POST", self.path, self.headers.get("Authorization"), body))
        if self.path == "/auth/token":
            good = parse_qs(body) == {"username": ["me"], "password": ["p&q"], "grant_type": ["password"]}
            token = {"token_type": "Bearer", "access_token": "xyz"}
            self.answer(token if good else {"detail": "wrong name or password"}, 200 if good else 401)
        elif self.path.startswith("/infer/"):
            told = b'{"verdict": {"level": "good"}}'
            parts = (
                b'--b1\r\nContent-Disposition: form-data; name="params"\r\nContent-Type: application/json\r\n\r\n%b\r\n'
            )
            file = b'--b1\r\nContent-Disposition: form-data; name="image"; filename="a.nrrd"\r\n\r\n%b\r\n--b1--\r\n'
            self.answer(parts % told + file % FILE, kind="multipart/form-data; boundary=b1")
        else:
            self.answer({"id": "1"})


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.seen, made.states = [], list(STATES)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def url(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/"


def test_a_file_comes_unchanged(server: ThreadingHTTPServer) -> None:
    answer = LabelClient(url(server)).infer("some model", "a&b", {"reference": "c", "method": "auto"})
    assert answer.file == FILE and answer.name == "a.nrrd" and answer.told == {"verdict": {"level": "good"}}
    assert 0 < answer.seconds < 60
    ((_, path, _, body),) = server.seen
    assert path == "/infer/some%20model?image=a%26b"
    assert json.loads(parse_qs(body)["params"][0]) == {"reference": "c", "method": "auto"}


def test_a_batch_waits_for_its_end(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monai_cellreg.benchmarks.label_client.POLL_SECONDS", 0.001)
    client = LabelClient(url(server))
    assert client.batch("propagate", ("a", "b"), {"reference": "c"}) < 60
    asked = json.loads(server.seen[0][3])
    assert asked == {
        **{"reference": "c", "images": ["a", "b"], "label_tag": "original"},
        **{"multi_gpu": False, "device": "cpu"},
    }
    assert len(server.seen) == 4 and server.states == []
    assert client.label("a") == (FILE, {"params": {"label": ["a"], "tag": ["original"]}})


def test_a_batch_that_fails_says_its_last_words(server: ThreadingHTTPServer) -> None:
    server.states = ["ERROR"]
    with pytest.raises(LabelServerError, match="2 images ended as ERROR:\none\nthe last line"):
        LabelClient(url(server)).batch("propagate", ["a", "b"], {})
    server.states = ["RUNNING"] * 3
    with pytest.raises(LabelServerError, match="took more than 0 s"):
        LabelClient(url(server), timeout_s=0.2).batch("propagate", ["a"], {})


def test_name_and_password_become_a_token(server: ThreadingHTTPServer) -> None:
    assert LabelClient(url(server), user="me", password="p&q").info() == {"name": "test"}
    assert [header for _, _, header, _ in server.seen] == [None, "Bearer xyz"]
    with pytest.raises(LabelServerError, match="refused with 401: wrong name or password"):
        LabelClient(url(server), user="me")


def test_reasons_are_passed_on(server: ThreadingHTTPServer) -> None:
    with pytest.raises(LabelServerError, match="GET /nowhere was refused with 500: nothing here"):
        LabelClient(url(server))._request("GET", "/nowhere")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(LabelServerError, match="does not answer .* start it by make label-server"):
        LabelClient(f"http://127.0.0.1:{port}").info()


def test_one_part_is_refused() -> None:
    with pytest.raises(ValueError, match="of the type 'application/json'; expected several"):
        parts_of("application/json", b"{}")
