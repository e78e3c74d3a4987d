"""The server's application: MONAI Label's own, made safe to offer and responsive.

MONAI Label runs everything, inference too, on the thread that listens, takes any path for an image, and answers most
mistakes with a bare 500. Here each request is read within limits, checked (``guards.py``), and carried out by MONAI
Label on a thread of a bounded set (``calls.py``), so that the listening thread is never kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import Any

import jwt
import monailabel.app
import requests
from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse
from monailabel.config import settings
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException, MONAILabelException
from monailabel.interfaces.utils.app import app_instance
from starlette.datastructures import Headers, QueryParams, UploadFile
from starlette.formparsers import MultiPartException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from . import authentication
from .app import image_patterns
from .calls import MIB, Call, Incoming, refuse
from .guards import (
    HEADER_BYTES,
    NAMES,
    Refused,
    check_header,
    check_name,
    check_path,
    check_sender,
    check_upload,
    parse_object,
)

__all__ = ["Limits", "app", "served_app"]

logger = logging.getLogger(__name__)

READERS = 8
FILES = "multipart/form-data"
FORMS = (FILES, "application/x-www-form-urlencoded")
OBJECTS = ("params", "info")
"""Fields of forms that hold a JSON object."""

TRAIN, BATCH = "/train/", "/batch/infer/"
KNOWN = {BATCH: "models", TRAIN: "trainers", "/scoring/": "scoring"}
"""Beginnings of paths whose last part is the name of one of these; MONAI Label would start a process that fails."""

LONG = ("/infer/", "/batch/", TRAIN, "/scoring/", "/activelearning/")
OPEN = ("/", "/openapi.json", "/docs", "/favicon.ico", "/auth/", "/auth/token")
"""Pages that need no token."""

CLOSED = (
    ("GET POST", "/proxy/", "requests to other servers are not passed on"),
    ("POST", "/reload", "the app is not loaded again while it runs; restart the server"),
    ("POST", "/infer/wsi", "no model works on parts of slides; POST /infer/MODEL with a whole image"),
    ("PUT DELETE", "/model/", "weights are not changed over the net; see the folder model of the work folder"),
)
"""Methods and beginnings of paths that MONAI Label offers and this server does not, with the reason."""


@dataclass(frozen=True)
class Limits:
    """What requests may take.

    Args:
        workers: inferences, and other long work, at a time; more wait.
        json_bytes: most bytes of a JSON body, or of one field of a form that is no file.
        upload_bytes: most bytes of a form with its files.
        hosts: names, without ports, by which the server may be called; any when there are none.
    """

    workers: int = 2
    json_bytes: int = MIB
    upload_bytes: int = 2048 * MIB
    hosts: tuple[str, ...] = ()


class _Guarded:
    """An ASGI application that checks requests and lets another one answer them on threads."""

    def __init__(self, inner: ASGIApp, limits: Limits, origins: Sequence[str]) -> None:
        self._inner = inner
        self._limits = limits
        self._origins = origins
        self._working = ThreadPoolExecutor(limits.workers, "work")
        self._writing = ThreadPoolExecutor(1, "write")  # what writes into the datastore comes one by one
        self._reading = ThreadPoolExecutor(READERS, "read")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request; start and end of the server are left to MONAI Label."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        incoming = Incoming(scope, receive)
        is_form = incoming.content_type.startswith(FILES)
        try:
            await self._admit(scope)
            body = await incoming.read(self._limits.upload_bytes if is_form else self._limits.json_bytes)
        except Refused as refusal:
            await refuse(refusal, incoming, send)
            return
        with body:
            call = Call(self._inner, scope, body, send)
            await asyncio.get_running_loop().run_in_executor(self._executor(scope), call.run, self._check_body)

    async def _admit(self, scope: Scope) -> None:
        """Checks all but the body."""
        headers, method, path = Headers(scope=scope), scope["method"], scope["path"]
        origin = headers.get("origin", "")
        check_sender(headers.get("host", ""), origin, hosts=self._limits.hosts, origins=self._origins)
        check_path(path)
        for methods, start, reason in CLOSED:
            if path.startswith(start) and method in methods.split():
                raise Refused(404, f"{method} {path} is not offered: {reason}")
        if authentication.is_enabled() and path not in OPEN and not path.startswith("/static/"):
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._reading, _check_token, headers.get("authorization", ""))
        _check_query(QueryParams(scope["query_string"]))

    def _executor(self, scope: Scope) -> Executor:
        """The threads that a request is for."""
        if scope["method"] == "POST" and scope["path"].startswith(LONG):
            return self._working
        return self._writing if scope["method"] in ("PUT", "DELETE") else self._reading

    async def _check_body(self, scope: Scope, body: SpooledTemporaryFile, receive: Receive) -> None:
        """Checks what a form or a JSON body holds, and that there is what the address names."""
        request = Request(scope, receive)
        has_file, given = False, {}
        if request.headers.get("content-type", "").lower().startswith(FORMS):
            try:
                async with request.form(max_part_size=self._limits.json_bytes) as form:
                    for field, value in form.multi_items():
                        _check_field(field, value, scope["path"])
                    has_file = isinstance(form.get("file"), UploadFile)
            except MultiPartException as error:
                status = 413 if "maximum size" in error.message else 400
                raise Refused(status, f"the form cannot be read: {error.message}") from error
        else:
            given = parse_object("the body", body.read())
        if scope["method"] == "POST":
            _check_task(scope["path"], request.query_params, has_file=has_file)
            _check_asked(scope["path"], given)


def served_app(limits: Limits | None = None) -> ASGIApp:
    """MONAI Label's application behind the guards; its settings must be made before this file is imported.

    Args:
        limits: what requests may take.
    """
    inner = monailabel.app.app
    authentication.mend(inner)
    inner.add_exception_handler(MONAILabelException, _explain)
    inner.add_exception_handler(Exception, _confess)
    origins = [str(origin).rstrip("/") for origin in settings.MONAI_LABEL_CORS_ORIGINS]
    guarded = _Guarded(inner, limits or Limits(), origins)
    return CORSMiddleware(
        guarded, allow_origins=origins, allow_credentials=True, allow_methods=["*"], allow_headers=["*"]
    )


def _check_token(header: str) -> None:
    """Raises unless a header ``Authorization`` has a token of the realm; what it allows MONAI Label checks later."""
    kind, _, token = header.partition(" ")
    try:
        if kind.lower() != "bearer":
            raise jwt.InvalidTokenError("there is none")
        authentication.user_of(token.strip())
    except jwt.InvalidTokenError as error:
        logger.warning("token refused: %s", error)
        raise Refused(401, f"the token is not valid ({error}); POST user name and password to /auth/token") from error
    except requests.RequestException as error:
        raise Refused(*authentication.realm_failure(error)) from error


def _check_query(query: QueryParams) -> None:
    """Checks what an address says after its question mark."""
    for key, value in query.multi_items():
        if key in NAMES:
            check_name(key, value)
    kind = query.get("check_sum", "").rpartition(":")[0]
    if kind not in ("", "SHA256", "SHA512", "MD5"):
        raise Refused(422, f"check_sum is of kind {kind!r}, expected SHA256, SHA512 or MD5; leave it out")
    if query.get("uncompress", "false").lower() not in ("0", "false", "no", "off", "f", "n"):
        raise Refused(422, "uncompress is true, but archives are not unpacked; send the files themselves")


def _check_task(path: str, query: QueryParams, *, has_file: bool) -> None:
    """Checks that there is what a path names, and an image for it to work on."""
    session = query.get("session_id")
    if path.startswith("/infer/") and not (has_file or session or query.get("image")):
        raise Refused(422, "image is missing; add ?image=ID to the address, GET /datastore/?output=all lists them")
    if session and not app_instance().sessions().get_session(session):
        raise Refused(404, f"session_id is {session!r}, which is no session or no longer one; PUT /session/ makes one")
    for start, kind in KNOWN.items():
        name = _below(start, path)
        if name and name not in (known := list(app_instance().info()[kind])):
            raise Refused(
                404, f"{name!r} is not known here, expected one of {', '.join(known) or 'none'}; choose another"
            )


def _check_asked(path: str, given: Mapping[str, Any]) -> None:
    """Checks what a training or a batch is asked for, which else would end in the background, where no one looks."""
    app = app_instance()
    try:
        if model := _below(TRAIN, path):
            app.check_training(model, given)
        elif model := _below(BATCH, path):
            app.check_batch({**given, "model": model})
    except HTTPException as error:
        raise Refused(error.status_code, error.detail) from error


def _below(start: str, path: str) -> str:
    """What a path has after a beginning; nothing where it begins otherwise."""
    return path.removeprefix(start) if path.startswith(start) else ""


def _check_field(field: str, value: str | UploadFile, path: str) -> None:
    """Checks one field of a form."""
    if isinstance(value, UploadFile):
        extensions = [pattern.lstrip("*") for pattern in image_patterns()]
        if path.startswith("/infer/") and field == "label":
            extensions.append(".bin")  # OHIF sends labels without a header
        check_upload(field, value.filename or "", extensions)
        check_header(field, value.filename or "", value.file.read(HEADER_BYTES))
    elif field in OBJECTS:
        parse_object(field, value)


async def _explain(request: Request, error: Exception) -> JSONResponse:
    """What MONAI Label says of an unknown image, label or model, or of input that it cannot use."""
    reason = getattr(error, "msg", "")
    is_unknown = isinstance(error, (ImageNotFoundException, LabelNotFoundException)) or "There is no" in reason
    known = "GET /info/ and /datastore/?output=all list what there is"
    return JSONResponse({"detail": f"{reason}; {known}"}, 404 if is_unknown else 422)


async def _confess(request: Request, error: Exception) -> JSONResponse:
    """A defect: its kind and text for the client, the rest for the log."""
    if request.url.path == "/datastore/dataset" and isinstance(error, AssertionError):
        return JSONResponse({"detail": f"{error}; no image has a label with the tag final"}, 404)
    reason = f"{request.method} {request.url.path} failed ({type(error).__name__}: {error}); the server's log says more"
    return JSONResponse({"detail": reason}, 500)


app = served_app()
