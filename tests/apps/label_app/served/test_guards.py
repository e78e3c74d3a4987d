"""Requests that a server must refuse: a reason for who asks, nothing written, and the server goes on."""

from __future__ import annotations

import http.client
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")
import requests

KIB = 1024
PNG = ("a.png", b"\x89PNG\r\n\x1a\n")


def encoded(kind: str, *shape: int) -> bytes:
    """A picture as a file, with some contrast."""
    file = io.BytesIO()
    values = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape) % 7
    Image.fromarray(values.astype(np.uint8)).save(file, kind)
    return file.getvalue()


TIFF, SMALL = encoded("TIFF", 80, 96), encoded("PNG", 8, 9)
LONG = "x" * (65 * KIB)
PROPAGATE, BATCH = "/infer/propagate_labels", "/batch/infer/propagate_labels"


@dataclass(frozen=True)
class Request:
    """What is sent, and what must come back."""

    method: str
    path: str
    status: int
    reason: str
    query: dict[str, str] | None = None
    params: object = None
    raw: Any = None
    files: dict[str, tuple[str, bytes]] | None = None
    headers: dict[str, str] | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.reason}"


def named(argument: str, value: str = "../x") -> list[Request]:
    """The same bad name in every place that takes it."""
    reason = f"{argument} is"
    query = [
        ("POST", PROPAGATE),
        ("GET", "/datastore/image"),
        ("GET", "/datastore/label"),
        ("GET", "/datastore/image/info"),
        ("DELETE", "/datastore/image"),
        ("DELETE", "/datastore/label"),
        ("PUT", "/datastore/label"),
        ("PUT", "/datastore/image"),
        ("PUT", "/datastore/"),
    ]
    body = ["/batch/infer/propagate_labels", "/train/joint", "/scoring/propagation", "/activelearning/random"]
    image = {"image": "frame_1"}
    return [
        *(Request(method, path, 422, reason, query={argument: value}) for method, path in query),
        *(Request("POST", path, 422, reason, raw=json.dumps({argument: value})) for path in body),
        Request("POST", PROPAGATE, 422, reason, query=image, params={argument: value}),
        Request("PUT", "/datastore/label", 422, reason, query=image, params={argument: value}, files={"label": PNG}),
    ]


REFUSED = [
    *named("image", "/etc/passwd"),
    *named("label"),
    *named("id", "C:\\secret"),
    *named("tag", "..\\..\\x"),
    *named("label_tag"),
    *named("reference", "/etc/passwd"),
    *named("session_id", "a\0b"),
    # nothing, or nothing known, is asked for
    Request("POST", PROPAGATE, 422, "image is missing"),
    Request("POST", PROPAGATE, 422, "reference is None", query={"image": "frame_1"}, params={}),
    Request("POST", PROPAGATE, 404, "image is 'nope'", query={"image": "nope"}, params={"reference": "frame_0"}),
    Request("POST", PROPAGATE, 404, "'nope'", query={"image": "frame_1"}, params={"reference": "nope"}),
    Request("POST", "/infer/nope", 404, "nope", query={"image": "frame_1"}),
    Request("POST", PROPAGATE, 404, "session", query={"session_id": "nope"}, params={"reference": "frame_0"}),
    Request("POST", "/batch/infer/nope", 404, "'nope' is not known here, expected one of propagate_labels"),
    Request("POST", "/train/nope", 404, "'nope' is not known here, expected one of joint"),
    Request("POST", "/scoring/nope", 404, "'nope' is not known here, expected one of propagation"),
    Request("POST", "/activelearning/nope", 404, "no such strategy 'nope'"),
    Request("PUT", "/datastore/label", 404, "nope not found", query={"image": "nope"}, files={"label": PNG}),
    Request("PUT", "/datastore/image/info", 404, "nope not found", query={"image": "nope"}, files={}),
    Request("DELETE", "/datastore/image", 404, "nope not found", query={"id": "nope"}),
    Request("GET", "/datastore/image", 404, "NOT Found", query={"image": "nope"}),
    Request("GET", "/datastore/label", 404, "NOT Found", query={"label": "frame_1", "tag": "final"}),
    Request("GET", "/model/nope", 404, "NOT Found"),
    Request("GET", "/session/nope", 404, "Not Found"),
    # no JSON object
    Request("POST", PROPAGATE, 422, "params is not JSON", query={"image": "frame_1"}, params="{"),
    Request("POST", PROPAGATE, 422, "params is [1]", query={"image": "frame_1"}, params=[1]),
    Request("PUT", "/datastore/label", 422, "params is 7", query={"image": "frame_1"}, params=7, files={"label": PNG}),
    Request("PUT", "/datastore/image/info", 422, "info is [", query={"image": "frame_1"}, raw={"info": "[1]"}),
    Request("POST", "/activelearning/random", 422, "the body is not JSON", raw="{"),
    Request("POST", "/batch/infer/propagate_labels", 422, "the body is [1]", raw="[1]"),
    Request("POST", "/train/joint", 422, "NaN", raw='{"max_epochs": NaN}'),
    Request("POST", "/scoring/propagation", 422, "the body is 'a'", raw='"a"'),
    Request("POST", "/train/joint", 422, "paths are not taken", raw='{"bundle_path": "model"}'),
    Request("POST", BATCH, 422, "unlabelled", raw='{"images": "unlabelled", "reference": "frame_0"}'),
    Request("POST", BATCH, 422, "reference", raw='{"images": "unlabeled"}'),
    Request("PUT", "/datastore/image", 422, "", query={"image": "frame_1"}, files={"file": ("a.png", b"hello")}),
    Request("PUT", "/datastore/image", 409, "frame_1.png", query={"image": "frame_1"}, files={"file": ("a.tif", TIFF)}),
    Request("PUT", "/datastore/label", 422, "", query={"image": "frame_1"}, files={"label": ("a.png", SMALL)}),
    Request("PUT", "/session/", 422, "voxels are in it", files={"files": ("a.mha", b"ElementDataFile = /etc/passwd")}),
    Request("POST", "/train/joint", 422, "max_epochs is -3", raw='{"max_epochs": -3}'),
    Request("POST", "/train/segreg", 422, "Label more images", raw="{}"),
    Request("POST", "/train/dirnet", 422, "option of the training of dirnet", raw='{"epochs": 3}'),
    Request("POST", PROPAGATE, 400, "form cannot be read", query={"image": "frame_1"}, raw="no form",
            headers={"content-type": "multipart/form-data"}),
    # too much
    Request("POST", "/activelearning/random", 413, "larger than 65536 bytes", raw=json.dumps({"a": LONG})),
    Request("POST", PROPAGATE, 413, "maximum size", params={"a": LONG}, files={"file": PNG}),
    Request("POST", PROPAGATE, 413, "larger than 65536 bytes", query={"image": "frame_1"}, params={"a": LONG}),
    Request("PUT", "/datastore/image", 413, "larger than 1048576", files={"file": ("a.png", b"x" * 1100 * KIB)}),
    # files that are none of images, or have no name
    Request("PUT", "/datastore/", 415, "a.json", query={"image": "datastore_v2"}, files={"file": ("a.json", b"{}")}),
    Request("PUT", "/datastore/image", 422, "file has the file name", files={"file": ("../../a.png", b"")}),
    Request("PUT", "/datastore/label", 415, "a.bin", query={"image": "frame_1"}, files={"label": ("a.bin", b"")}),
    Request("PUT", "/session/", 422, "file name", files={"files": ("..", b"")}),
    Request("PUT", "/session/", 415, "a.zip", files={"files": ("a.zip", b"PK")}),
    Request("PUT", "/session/", 422, "archives", query={"uncompress": "true"}, files={"files": PNG}),
    # what is not offered, and who may not ask
    Request("GET", "/proxy/dicom/wado/studies", 404, "not offered"),
    Request("POST", "/reload", 404, "not offered"),
    Request("PUT", "/model/propagate_labels", 404, "not offered", files={"file": ("model.pt", b"cos\nsystem\n")}),
    Request("DELETE", "/model/propagate_labels", 404, "not offered"),
    Request("POST", "/infer/wsi/propagate_labels", 404, "not offered", query={"image": "frame_1"}),
    Request("HEAD", "/datastore/image", 422, "", query={"image": "frame_1", "check_sum": "CRC:7"}),
    Request("GET", "/info/", 403, "evil.org", headers={"Origin": "http://evil.org"}),
    Request("GET", "/info/", 403, "evil.org", headers={"Host": "evil.org"}),
]  # fmt: skip


@pytest.fixture(scope="module")
def server(serve: Any) -> Any:
    """A server with small limits: 64 KiB of JSON and 1 MiB of files."""
    return serve("--json-limit", "0.0625", "--upload-limit", "1")


@pytest.fixture(autouse=True)
def unharmed(server: Any) -> Iterator[None]:
    """Sees to it that nothing is written and the server goes on."""
    before = server.files()
    yield
    assert server.files() == before
    assert server.alive()


def sent(server: Any, request: Request) -> requests.Response:
    """The answer to a request."""
    fields = request.raw
    if request.params is not None:
        fields = {"params": request.params if isinstance(request.params, str) else json.dumps(request.params)}
    headers = dict(request.headers or {})
    if isinstance(fields, str):
        headers.setdefault("content-type", "application/json")
    return requests.request(
        request.method, server.url + request.path, params=request.query, data=fields, files=request.files,
        headers=headers, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("request_", REFUSED, ids=str)
def test_requests_are_refused_with_a_reason(server: Any, request_: Request) -> None:
    answer = sent(server, request_)
    assert answer.status_code == request_.status, answer.text
    if request_.method != "HEAD":
        assert request_.reason in str(answer.json()["detail"])


def raw_request(server: Any, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
    """Status and body of an answer to a request whose path is sent as it is."""
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    connection.request(method, path, body, headers, encode_chunked="Transfer-Encoding" in headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.mark.parametrize(
    "path", ["/session/..", "/session/%2e%2e", "/model/..%5cx", "/ohif/../../main.py", "/static/%2e%2e"]
)
def test_addresses_that_climb_are_refused(server: Any, path: str) -> None:
    status, body = raw_request(server, "GET", path)
    assert status == 400 and b"'..'" in body


def peak_kib(server: Any) -> int:
    """The most memory that the server has held."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the memory of a process is read from /proc")
def test_a_body_of_unknown_length_is_refused_before_it_is_read(server: Any) -> None:
    before = peak_kib(server)
    parts = (b"x" * 64 * KIB for _ in range(3000))  # 188 MiB
    chunked = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
    status, body = raw_request(server, "POST", "/activelearning/random", parts, **chunked)
    assert status == 413 and b"65536" in body
    assert peak_kib(server) - before < 60 * KIB


def test_a_body_that_is_announced_as_too_large_is_not_waited_for(server: Any) -> None:
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    connection.putrequest("PUT", "/datastore/image")
    connection.putheader("Content-Length", str(10**12))
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize("query", [{}, {"output": "all"}])
def test_what_is_fine_is_answered(server: Any, query: dict[str, str]) -> None:
    answer = requests.get(f"{server.url}/datastore/", params=query, timeout=60, headers={"Origin": server.url})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == server.url


def test_pages_of_others_may_not_ask_beforehand_either(server: Any) -> None:
    headers = {"Access-Control-Request-Method": "PUT"}
    for origin, status in ((server.url, 200), ("http://evil.org", 400)):
        answer = requests.options(f"{server.url}/info/", headers={**headers, "Origin": origin}, timeout=60)
        assert answer.status_code == status
        assert answer.headers.get("access-control-allow-origin", "") == (origin if status == 200 else "")
