"""One request: its body read within limits, and its answer made on a thread of its own, away from who listens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from tempfile import SpooledTemporaryFile

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .guards import Refused

__all__ = ["MIB", "Call", "Incoming", "refuse"]

logger = logging.getLogger(__name__)

MIB = 2**20
DISCARDED = 256 * MIB
"""What is still taken, and thrown away, of a body that is too large: clients read an answer after sending all."""


class Incoming:
    """The body of a request as it comes in.

    Args:
        scope: the request.
        receive: gives the next part.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._headers = Headers(scope=scope)
        self._receive = receive
        self._has_more = True

    @property
    def content_type(self) -> str:
        """What the body is, in lower case."""
        return self._headers.get("content-type", "").lower()

    async def read(self, limit: int) -> SpooledTemporaryFile:
        """The body in a file, which stays in memory while it is small.

        Args:
            limit: most bytes.

        Raises:
            Refused: 413 as soon as there are more.
        """
        reason = f"the body is larger than {limit} bytes, expected less; start the server with a higher limit"
        if int(self._headers.get("content-length", 0)) > limit:
            raise Refused(413, reason)
        body, size = SpooledTemporaryFile(max_size=MIB), 0
        while self._has_more:
            part = await self._next()
            size += len(part)
            if size > limit:
                body.close()
                raise Refused(413, reason)
            body.write(part)
        body.seek(0)
        return body

    async def discard(self) -> None:
        """Takes what still comes, within bounds."""
        size = 0
        while self._has_more and size <= DISCARDED:
            size += len(await self._next())

    async def _next(self) -> bytes:
        message = await self._receive()
        self._has_more = message.get("more_body", False)
        return message.get("body", b"")


class Call:
    """A request that is answered on another thread, in an event loop of that thread.

    Args:
        inner: what answers.
        scope: the request.
        body: its body.
        send: takes the answer, in the event loop that runs now.
    """

    def __init__(self, inner: ASGIApp, scope: Scope, body: SpooledTemporaryFile, send: Send) -> None:
        self._inner = inner
        self._scope = scope
        self._body = body
        self._send = send
        self._listening = asyncio.get_running_loop()
        self._is_read = False

    def run(self, check: Callable[[Scope, SpooledTemporaryFile, Receive], Awaitable[None]]) -> None:
        """Answers, and logs what fails.

        Args:
            check: raises ``Refused`` for a body that cannot be used.
        """
        try:
            asyncio.run(self._answer(check))
        except Exception:  # the client has its answer, MONAI Label's own or that of web.py, or has left
            logger.exception("%s %s failed", self._scope["method"], self._scope["path"])

    async def _answer(self, check: Callable[[Scope, SpooledTemporaryFile, Receive], Awaitable[None]]) -> None:
        try:
            await check(self._scope, self._body, self._next)
        except Refused as refusal:
            await _answer_refusal(refusal, self._answered)
            return
        self._body.seek(0)
        self._is_read = False
        await self._inner(self._scope, self._next, self._answered)

    async def _next(self) -> Message:
        if self._is_read:
            await asyncio.Future()  # until the loop ends: nothing comes after the body
        part = self._body.read(MIB)
        self._is_read = not part
        return {"type": "http.request", "body": part, "more_body": bool(part)}

    async def _answered(self, message: Message) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._send(message), self._listening))


async def refuse(refusal: Refused, incoming: Incoming, send: Send) -> None:
    """Answers a request that is not carried out, and takes the rest of its body.

    Args:
        refusal: status and reason.
        incoming: the body.
        send: takes the answer.
    """

    async def unfinished(message: Message) -> None:  # whatever comes after a finished answer ends the connection
        await send(message | {"more_body": True} if message["type"] == "http.response.body" else message)

    await _answer_refusal(refusal, unfinished)
    await incoming.discard()
    await send({"type": "http.response.body", "body": b""})


async def _answer_refusal(refusal: Refused, send: Send) -> None:
    headers = {"www-authenticate": "Bearer"} if refusal.status == 401 else None
    answer = JSONResponse({"detail": refusal.reason}, refusal.status, headers)
    await answer({"type": "http"}, _nothing, send)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
