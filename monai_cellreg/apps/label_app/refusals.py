"""Requests that cannot be answered, as the 4xx that tells their sender why."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fastapi import HTTPException

__all__ = ["FAILURES", "refused"]

logger = logging.getLogger(__name__)

FAILURES = (ValueError, RuntimeError, ArithmeticError, ImportError, FileNotFoundError)
"""What readers, methods and writers raise of images that they cannot use, or of extras that are not installed."""


@contextmanager
def refused(names: Mapping[Path, str]) -> Iterator[None]:
    """Turns failures of the block into 422 with their reason.

    Args:
        names: what the sender calls the files that the reason may mention, instead of their paths on the server.

    Raises:
        HTTPException: 422, for a failure.
    """
    try:
        yield
    except FAILURES as error:
        logger.warning("refused: %s", error, exc_info=None if isinstance(error, ValueError) else error)
        reason = str(error) or type(error).__name__
        for path, name in names.items():
            reason = reason.replace(str(path), name)
        raise HTTPException(422, reason) from error
