"""The requests of 3D Slicer's MONAI Label module (0.8.5), as its client sends them, and what it needs of the answers.

What the module does is written down here from its source: it asks ``/auth/`` before each request, writes multipart
bodies by hand, reads answers with Python's ``cgi``, wants ``.nrrd`` of uint8, and takes the n-th name of a segment for
the label value n.
"""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlencode, urlsplit

import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    cgi = pytest.importorskip("cgi", reason="Slicer's client reads answers with cgi, which this Python has not")

BOUNDARY = "----------lImIt_of_THE_fIle_eW_$"
CLIENT_ID = "user-xyz"


class Refusal(Exception):
    """What Slicer shows in a dialog: status and body of an answer other than 200."""


class Slicer:
    """The module's client and the few lines around it that prepare requests."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = urlsplit(url), folder
        self.headers: dict[str, str] = {}
        self.typed = ("", "")  # user name and password, into a dialog

    def send(self, method: str, path: str, body: Any = None, kind: str | None = None) -> Any:
        """One request with JSON, text or raw bytes, after the question whether user names are wanted."""
        self.log_in()
        return self.raw(method, path, body, kind)

    def log_in(self) -> None:
        """Before each request: a new token, unless the server has no users or takes the last token still.

        A server without users does not know the address.
        """
        try:
            if not self.raw("GET", "/auth/")["enabled"]:
                return
        except Refusal:
            return
        try:
            if self.headers and self.raw("GET", "/auth/token/valid"):
                return
        except Refusal:
            pass
        user, password = self.typed
        form = urlencode({"username": user, "password": password, "grant_type": "password"})
        try:
            token = self.raw("POST", "/auth/token", form, "application/x-www-form-urlencoded")
            self.headers = {"Authorization": f"{token['token_type']} {token['access_token']}"}
        except Refusal:  # the request is then sent without
            self.headers = {}

    def raw(self, method: str, path: str, body: Any = None, kind: str | None = None) -> Any:
        connection = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=300)
        headers = dict(self.headers)
        if body:
            if isinstance(body, dict):
                body, kind = json.dumps(body), "application/json"
            headers |= {"content-type": kind or "text/plain", "content-length": str(len(body))}
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        content_type = answer.getheader("content-type", kind)
        if "multipart" in content_type and answer.status == 200:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                form = cgi.FieldStorage(fp=answer.fp, environ={"REQUEST_METHOD": "POST"}, headers=answer.msg)
            return {part.name: (part.filename, part.value) for part in form.list}
        content = answer.read()
        if answer.status != 200:
            raise Refusal(f"Status: {answer.status}; Response: {content.decode()}")
        return json.loads(content) if content_type.startswith("application/json") else (answer, content)

    def send_form(self, method: str, path: str, params: Mapping[str, Any], files: Mapping[str, Path]) -> Any:
        """Multipart: the field ``params``, and files under the whole path that they have on the user's machine."""
        told = json.dumps({**params, "client_id": CLIENT_ID})
        parts = [
            b'--%b\r\nContent-Disposition: form-data; name="params"\r\n\r\n%b' % (BOUNDARY.encode(), told.encode())
        ]
        for field, file in files.items():
            head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{file}"'
            parts.append(f"{head}\r\nContent-Type: application/octet-stream\r\n\r\n".encode() + file.read_bytes())
        body = b"\r\n".join([*parts, f"--{BOUNDARY}--".encode(), b""]) + b"\r\n"
        return self.send(method, path, body, f"multipart/form-data; boundary={BOUNDARY}")

    def info(self) -> dict[str, Any]:
        return self.send("GET", "/info/")

    def infer(
        self, model: str, image: str, config: Mapping[str, Any], session: str | None = None
    ) -> tuple[Path, dict[str, Any]]:
        """The button "Run": file, stored under the name that the server gave it, and what was told with it."""
        path = f"/infer/{quote_plus(model)}?image={quote_plus(image)}"
        path += f"&session_id={quote_plus(session)}" if session else ""
        params = {**config, "result_extension": ".nrrd", "result_dtype": "uint8"}
        parts = self.send_form("POST", path, params, {})
        assert parts["params"][0] is None  # only then does the client take it for a field
        ((name, content),) = [part for part in parts.values() if part[0]]
        file = self.folder / name
        file.write_bytes(content)
        return file, json.loads(parts["params"][1])

    def save_label(self, image: str, label: Path, segments: list[str]) -> Any:
        """The button "Submit label": segments as they are numbered in Slicer's list, in an NIfTI file."""
        told = {"label_info": [{"name": name, "idx": k} for k, name in enumerate(segments, 1)]}
        return self.send_form("PUT", f"/datastore/label?image={quote_plus(image)}", told, {"label": label})


def first_choices(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a model as the module sends them: of choices the first, which is the chosen one."""
    return {key: value[0] if isinstance(value, list) else value for key, value in config.items()}


def chosen(slicer: Slicer, model: str, **values: str) -> dict[str, Any]:
    """The settings after the user has picked choices, which the module moves to the front."""
    config = slicer.info()["models"][model]["config"]
    for key, value in values.items():
        config[key].remove(value)
        config[key].insert(0, value)
    return first_choices(config)


def segments(slicer: Slicer, told: Mapping[str, Any]) -> dict[int, str]:
    """Label value to segment, as the module imports a file: it takes the n-th name for the value n.

    Names without a segment of that name, which are made of the server's ``labels``, are left out.
    """
    names = [name for name, _ in sorted(told["label_names"].items(), key=lambda item: item[1])]
    there = slicer.info()["labels"]
    return {k: name for k, name in enumerate((n for n in names if n != "background"), 1) if name in there}


def values(file: Path) -> set[int]:
    return set(np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(file)))).tolist()) - {0}


def assert_same_place(file: Path, image: Path) -> None:
    found, wanted = sitk.ReadImage(str(file)), sitk.ReadImage(str(image))
    assert found.GetSize() == wanted.GetSize()
    for what in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(found, what)(), getattr(wanted, what)(), atol=1e-4)


@pytest.fixture
def slicer(server: Any, tmp_path: Path) -> Slicer:
    return Slicer(server.url, tmp_path)


def test_info_has_what_the_panel_shows(slicer: Slicer) -> None:
    info = slicer.info()
    assert info["name"] and not info.get("config")  # else the module asks to upgrade the server
    assert isinstance(info["labels"], list) and all(isinstance(name, str) for name in info["labels"])
    kinds = {name: model["type"] for name, model in info["models"].items()}
    shown = {name for name, kind in kinds.items() if kind in ("segmentation", "detection")}
    assert "propagate_labels" in shown and not {"register", "displacement", "transform"} & shown
    names = info["models"]["propagate_labels"]["labels"]
    assert len(names) >= 3 and set(names) <= set(info["labels"])  # of which the module makes its empty segments
    for model in info["models"].values():
        assert isinstance(model["labels"], list | dict)  # the module looks for names in it, also where it is empty
    for section in ("models", "trainers", "strategies", "scoring"):
        for entry in info[section].values():
            for value in entry.get("config", {}).values():
                if isinstance(value, list):  # a box of choices, which must not be empty
                    assert value and all(isinstance(choice, str) for choice in value)
                else:
                    assert isinstance(value, bool | int | float | str | dict)
    config = info["models"]["propagate_labels"]["config"]
    assert {"frame_0", "heart_ed"} <= set(config["reference"]) and config["method"][0] == "auto"
    assert set(info["datastore"]) >= {"total", "completed"}
    assert all(isinstance(stats, dict) for stats in info["train_stats"].values())


def test_a_session_from_next_sample_to_submitted_label(slicer: Slicer, server: Any, tmp_path: Path) -> None:
    strategies = slicer.info()["strategies"]
    for strategy in strategies:
        config = first_choices(strategies[strategy].get("config", {}))
        sample = slicer.send("POST", f"/activelearning/{quote_plus(strategy)}", {**config, "client_id": CLIENT_ID})
        assert sample["id"] and Path(sample["path"]).name == sample["name"]
        answer, content = slicer.send("GET", f"/datastore/image?image={quote_plus(sample['id'])}")
        assert content == Path(sample["path"]).read_bytes()

    config = chosen(slicer, "propagate_labels", reference="heart_ed", method="affine")
    file, told = slicer.infer("propagate_labels", "heart_es", config)
    assert file.suffix == ".nrrd" and sitk.ReadImage(str(file)).GetPixelID() == sitk.sitkUInt8
    assert_same_place(file, server.studies / "heart_es.nii.gz")
    assert values(file) == {1, 2, 3}
    assert segments(slicer, told) == {value: name for name, value in told["label_names"].items()}
    assert told["verdict"]["level"] in ("good", "check", "failed") and told["reference"] == "heart_ed"

    label = tmp_path / "tmp8m_2.x" / "label.nii.gz"
    label.parent.mkdir()
    sitk.WriteImage(sitk.ReadImage(str(file)), str(label))
    saved = slicer.save_label("heart_es", label, ["right ventricle", "muscle", "left ventricle"])
    assert saved["image"] == "heart_es" and (server.studies / "labels" / "final" / "heart_es.nii.gz").is_file()

    info = slicer.info()
    assert "heart_es" in info["models"]["propagate_labels"]["config"]["reference"]
    assert {"right ventricle", "muscle", "left ventricle"} <= set(info["labels"])
    _, told = slicer.infer("propagate_labels", "heart_ed", chosen(slicer, "propagate_labels", reference="heart_es"))
    assert told["label_names"] == {"right ventricle": 1, "muscle": 2, "left ventricle": 3}


def test_pictures_annotated_in_slicer(slicer: Slicer, server: Any, tmp_path: Path) -> None:
    """Slicer shows a PNG as a volume of one slice, and stores its label as NIfTI in three dimensions.

    The second segment is empty: the names of the others must stay with their values.
    """
    nucleus = sitk.GetArrayFromImage(sitk.ReadImage(str(server.studies / "labels" / "final" / "frame_0.png"))) > 0
    middle = int(np.argwhere(nucleus)[:, 1].mean())
    drawn = np.where(nucleus, np.where(np.arange(nucleus.shape[1]) < middle, 1, 3), 0).astype(np.uint8)[None]
    label = tmp_path / "drawn.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(drawn), str(label))
    slicer.save_label("frame_1", label, ["left", "nothing", "right"])

    config = chosen(slicer, "propagate_labels", reference="frame_1", method="affine")
    file, told = slicer.infer("propagate_labels", "frame_2", config)
    found = sitk.ReadImage(str(file))
    assert found.GetSize()[:2] == drawn.shape[:0:-1] and found.GetPixelID() == sitk.sitkUInt8
    assert values(file) == {1, 3}
    named = segments(slicer, told)
    assert (named[1], named[3]) == ("left", "right")
    array = np.squeeze(sitk.GetArrayFromImage(found))
    left, right = (np.argwhere(array == k)[:, 1].mean() for k in (1, 3))
    assert left + 5 < right


def test_a_volume_that_only_slicer_has(slicer: Slicer, server: Any, tmp_path: Path) -> None:
    """A local volume is sent once a session; to submit its label it is added to the images first."""
    local = tmp_path / "tmpq3.nii.gz"
    local.write_bytes((server.studies / "heart_es.nii.gz").read_bytes())
    config = chosen(slicer, "propagate_labels", reference="heart_ed", method="affine")
    with pytest.raises(Refusal, match="404"):
        slicer.infer("propagate_labels", "My volume", config)

    import requests  # as the module does, here alone

    with open(local, "rb") as file:
        answer = requests.put(
            f"{server.url}/session/", files=[("files", (local.name, file))], data={"client_id": CLIENT_ID}, timeout=60
        )
    session = answer.json()["session_id"]
    assert slicer.send("GET", f"/session/{quote_plus(session)}")
    file, told = slicer.infer("propagate_labels", "My volume", config, session)
    assert_same_place(file, local)
    assert values(file) == {1, 2, 3} and told["label_names"]

    label = tmp_path / "label.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(file)), str(label))
    added = slicer.send_form("PUT", "/datastore/?image=My+volume", {}, {"file": local})
    assert added == {"image": "My volume"}
    slicer.save_label("My volume", label, list(told["label_names"]))
    assert "My volume" in slicer.info()["models"]["propagate_labels"]["config"]["reference"]


def test_training_is_started_watched_and_stopped(slicer: Slicer, server: Any) -> None:
    """The bar of the panel divides an epoch by the number of epochs; the dialog after "Stop" shows the last line."""
    for frame in ("frame_1", "frame_2", "frame_3"):  # a training takes two images or more, of whole nuclei
        slicer.save_label(frame, server.studies / "labels" / "final" / "frame_0.png", ["nucleus"])
    with pytest.raises(Refusal, match="404"):
        slicer.send("GET", "/train/?check_if_running=true")
    trainer, entry = next(iter(slicer.info()["trainers"].items()))
    started = slicer.send(
        "POST", f"/train/{quote_plus(trainer)}", {**first_choices(entry["config"]), "client_id": CLIENT_ID}
    )
    assert started["id"] and started["start_ts"]
    end = time.monotonic() + 240
    while not (stats := slicer.info()["train_stats"][trainer]).get("total_epochs"):
        status = slicer.send("GET", "/train/")
        assert status["status"] in ("SUBMITTED", "RUNNING") and time.monotonic() < end, status["details"][-3:]
        time.sleep(0.5)
    assert isinstance(stats.get("best_metric", 0), int | float)
    assert 0 <= (0 if stats.get("total_time") else stats.get("epoch", 1)) <= stats["total_epochs"]
    stopped = slicer.send("DELETE", "/train/")
    assert stopped["status"] == "STOPPED" and stopped["details"][-1]


def test_refusals_are_read_by_people(slicer: Slicer) -> None:
    config = chosen(slicer, "propagate_labels", reference="heart_ed")
    with pytest.raises(
        Refusal, match=r"Status: 4\d\d; Response: .*frame_2.*\d-?D|Status: 4\d\d; Response: .*dimension"
    ):
        slicer.infer("propagate_labels", "frame_2", config)
    with pytest.raises(Refusal, match=r"Status: 4\d\d; Response: .*propagate_walls"):
        slicer.infer("propagate_walls", "frame_2", config)


@pytest.fixture(scope="module")
def realm() -> Iterator[str]:
    """Address of a realm with the user ada, which answers what the server asks of Keycloak."""
    jwt = pytest.importorskip("jwt")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers.get("content-length", 0))).decode())
            token = {"preferred_username": "ada", "exp": time.time() + 600, "aud": "account"}
            token["realm_access"] = {"roles": ["monailabel-user"]}
            answers: dict[str, dict[str, str]] = {
                "/realms/lab": {"realm": "lab", "public_key": base64.b64encode(public).decode()},
                "/realms/lab/.well-known/openid-configuration": {"token_endpoint": f"{address}/token"},
            }
            if form.get("username") == ["ada"] and form.get("password") == ["a&b"]:
                answers["/realms/lab/token"] = {
                    "access_token": jwt.encode(token, key, algorithm="RS256"),
                    "token_type": "Bearer",
                }
            body = json.dumps(answers.get(self.path, {"error": "invalid_grant"})).encode()
            self.send_response(200 if self.path in answers else 401)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        address = f"http://127.0.0.1:{listening.server_port}/realms/lab"
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield address
        listening.shutdown()


def test_login(serve: Any, realm: str, tmp_path: Path) -> None:
    """One token serves many requests; who types a wrong password is told, and one who is no annotator as well."""
    locked = serve("--realm", realm)
    slicer = Slicer(locked.url, tmp_path)
    slicer.typed = ("ada", "wrong")
    with pytest.raises(Refusal, match="Status: 401; Response: .*token"):
        slicer.info()
    slicer.typed = ("ada", "a&b")
    assert slicer.info()["models"]
    token = dict(slicer.headers)
    file, _ = slicer.infer("propagate_labels", "frame_1", {"reference": "frame_0", "method": "affine"})
    assert values(file) == {1} and slicer.headers == token
    with pytest.raises(Refusal, match="Status: 40[13]"):
        slicer.save_label("frame_1", file, ["nucleus"])
