"""A small client of a MONAI Label server, by plain HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email import message_from_bytes
from email.policy import HTTP
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import requests

__all__ = ["Answer", "LabelClient", "LabelServerError", "parts_of"]

TAG = "original"  # of labels that no person has made
POLL_SECONDS = 0.5


class LabelServerError(RuntimeError):
    """The server is not there, or refused a request; the text has its reason."""


@dataclass(frozen=True)
class Answer:
    """What a model answered.

    Args:
        file: content of the file.
        name: of the file.
        told: the answer in numbers and words.
        seconds: that it took, the way through the network included.
    """

    file: bytes
    name: str
    told: Mapping[str, Any]
    seconds: float


def parts_of(content_type: str, body: bytes) -> dict[str, tuple[str | None, bytes]]:
    """The parts of an answer in several: name to file name and content.

    Args:
        content_type: header with the boundary.
        body: as received.

    Raises:
        ValueError: when it has no parts.

    Example:
        >>> parts_of("multipart/form-data; boundary=b", b'--b\\r\\nContent-Disposition: form-data; name="a"'
        ...          b'\\r\\n\\r\\n{}\\r\\n--b--\\r\\n')
        {'a': (None, b'{}')}
    """
    message = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body, policy=HTTP)
    if not message.is_multipart():
        raise ValueError(f"answer is of the type {content_type!r}; expected several parts: {body[:200]!r}")
    found = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        found[str(name)] = (part.get_filename(), part.get_payload(decode=True))
    return found


class LabelClient:
    """Asks a server.

    Args:
        url: such as ``http://127.0.0.1:8000``.
        user: name, where the server wants one.
        password: of the user.
        timeout_s: for one request.

    Raises:
        LabelServerError: when nobody answers, or name and password are refused.
    """

    def __init__(
        self, url: str, *, user: str | None = None, password: str | None = None, timeout_s: float = 600.0
    ) -> None:
        self._url, self._timeout_s = url.rstrip("/"), timeout_s
        self._session = _requests().Session()
        if user is not None:
            form = {"username": user, "password": password or "", "grant_type": "password"}
            token = self._request("POST", "/auth/token", data=form).json()
            self._session.headers["Authorization"] = f"{token['token_type']} {token['access_token']}"

    def info(self) -> dict[str, Any]:
        """What the server says of itself, its models and its images."""
        return self._request("GET", "/info/").json()

    def infer(self, model: str, image: str, params: Mapping[str, Any]) -> Answer:
        """Asks a model about an image of the folder."""
        start = time.perf_counter()
        form = {"params": json.dumps(dict(params))}
        response = self._request("POST", f"/infer/{model}", params={"image": image}, data=form)
        parts = parts_of(response.headers["content-type"], response.content)
        (_, told), (name, file) = parts["params"], parts["image"]
        return Answer(file, name or "", json.loads(told), time.perf_counter() - start)

    def batch(self, model: str, images: Sequence[str], params: Mapping[str, Any]) -> float:
        """Asks a model about several images at once, waits, and tells the seconds; labels get the tag ``original``.

        Raises:
            LabelServerError: when the work ended without a result.
        """
        start = time.perf_counter()
        asked = {**params, "images": list(images), "label_tag": TAG, "multi_gpu": False, "device": "cpu"}
        self._request("POST", f"/batch/infer/{model}", json=asked)
        while (status := self._request("GET", "/batch/infer").json())["status"] in ("SUBMITTED", "RUNNING"):
            if time.perf_counter() - start > self._timeout_s:
                raise LabelServerError(f"batch of {len(images)} images took more than {self._timeout_s:.0f} s")
            time.sleep(POLL_SECONDS)
        if status["status"] != "DONE":
            last = "\n".join(list(status.get("details", []))[-5:])
            raise LabelServerError(f"batch of {len(images)} images ended as {status['status']}:\n{last}")
        return time.perf_counter() - start

    def label(self, image: str) -> tuple[bytes, dict[str, Any]]:
        """The label that a batch has made, and what was told of it."""
        which = {"label": image, "tag": TAG}
        file = self._request("GET", "/datastore/label", params=which).content
        return file, self._request("GET", "/datastore/label/info", params=which).json()

    def _request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, str] | None = None,
        json: Mapping[str, Any] | None = None,
    ) -> requests.Response:
        try:
            response = self._session.request(
                method, f"{self._url}{path}", params=params, data=data, json=json, timeout=self._timeout_s
            )
        except _requests().exceptions.RequestException as error:
            raise LabelServerError(
                f"url {self._url} does not answer ({error}); expected a running server: start it by make label-server"
            ) from error
        if response.status_code != 200:
            raise LabelServerError(f"{method} {path} was refused with {response.status_code}: {_reason(response)}")
        return response


def _reason(response: requests.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.text[:500]


def _requests() -> Any:
    try:
        import requests
    except ImportError as error:
        raise ImportError("requests is not installed; install it by pip install 'monai-cellreg[label]'") from error
    return requests
