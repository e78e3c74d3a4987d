"""What all requests have in common: their parameters are spelled as we know them, and switches are on or off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from fastapi import HTTPException

__all__ = ["PARAMETERS", "check_spelling", "is_on"]

PARAMETERS = (
    *("model", "image", "reference", "reference_tag", "method", "save_label", "label_tag"),
    *("result_extension", "result_dtype", "result_compress", "images", "max_batch_size", "max_workers"),
)
"""What the models and batches take. Clients send other parameters as well, which are for other models."""

ALIKE = 0.8
SWITCH = {"true": True, "false": False}


def check_spelling(names: Iterable[str]) -> None:
    """Checks that no parameter is nearly one of ours: it would be ignored, and the default be taken.

    Raises:
        HTTPException: 422 for the first one that is.
    """
    for name in names:
        near = get_close_matches(name.lower(), PARAMETERS, n=1, cutoff=ALIKE)
        if near and name not in PARAMETERS:
            raise HTTPException(
                422, f"parameter {ascii(name)} is not known; expected one such as {near[0]!r}: did you mean that?"
            )


def is_on(request: Mapping[str, Any], name: str) -> bool:
    """A switch of a request, off when it is left out.

    Raises:
        HTTPException: 422 when it is neither a truth value of JSON nor the text of one.
    """
    value = request.get(name, False)
    value = SWITCH.get(value.lower(), value) if isinstance(value, str) else value
    if not isinstance(value, bool):
        raise HTTPException(422, f"{name} is {ascii(value)[:80]}; expected true or false. Correct it, or leave it out")
    return value
