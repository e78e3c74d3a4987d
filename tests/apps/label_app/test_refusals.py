"""What is told to senders of requests that cannot be answered."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")

from fastapi import HTTPException

from monai_cellreg.apps.label_app.refusals import refused


def test_reason_names_what_the_sender_knows() -> None:
    path = Path("/srv/images/cell.png")
    with pytest.raises(HTTPException, match="^422: path 'cell' is damaged$") as refusal, refused({path: "cell"}):
        raise ValueError(f"path {str(path)!r} is damaged")
    assert refusal.value.status_code == 422


def test_reason_is_never_empty() -> None:
    with pytest.raises(HTTPException, match="^422: RuntimeError$"), refused({}):
        raise RuntimeError


def test_other_refusals_and_defects_pass() -> None:
    with pytest.raises(HTTPException) as refusal, refused({}):
        raise HTTPException(404, "no such image")
    assert refusal.value.status_code == 404
    with pytest.raises(KeyError, match="x"), refused({}):
        raise KeyError("x")
