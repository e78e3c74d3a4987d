"""Registrations of the server: done once, remembered while the files are the same, also by several threads."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")

from fastapi import HTTPException

from monai_cellreg.apps.label_app.pairs import ReferencePair
from monai_cellreg.apps.label_app.registrations import REMEMBERED, Registrations
from monai_cellreg.methods import method_names

if TYPE_CHECKING:
    from monai_cellreg.geometry import Pair, SpatialTransform


def pair_of(studies: Path, image: str, reference: str, *, label: bool = True) -> ReferencePair:
    moving_label = studies / "labels" / "final" / reference
    names = {"label 1": 1}
    return ReferencePair(
        image, reference, studies / image, studies / reference, moving_label if label else None, "auto", names
    )


@pytest.fixture
def pair(studies: Path) -> ReferencePair:
    return pair_of(studies, "frame_2.png", "frame_0.png")


def test_methods_are_ours_and_the_trained_ones(tmp_path: Path) -> None:
    assert Registrations(tmp_path).methods() == method_names()
    (tmp_path / "model" / "dirnet").mkdir(parents=True)
    (tmp_path / "model" / "dirnet" / "model.pt").touch()
    assert Registrations(tmp_path).methods() == [*method_names(), "dirnet-trained"]


def test_same_pair_is_registered_once(pair: ReferencePair, found_by, shift, tmp_path: Path) -> None:
    method, registrations = found_by(shift(1, 2)), Registrations(tmp_path)
    first = registrations(pair)
    assert registrations(replace(pair)) is first
    assert len(method.pairs) == 1
    assert method.pairs[0].moving_label is not None and method.pairs[0].fixed_label is None
    assert first.transform.points(np.zeros((1, 2))).tolist() == [[1, 2]]


@pytest.mark.parametrize("changed", ["frame_2.png", "frame_0.png", "labels/final/frame_0.png"])
def test_changed_file_is_registered_again(pair, found_by, shift, tmp_path: Path, studies: Path, changed: str) -> None:
    registrations = Registrations(tmp_path)
    method = found_by(shift(1, 2))
    registrations(pair)
    state = (studies / changed).stat()
    os.utime(studies / changed, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    registrations(pair)
    assert len(method.pairs) == 2


def test_other_method_is_another_registration(pair, found_by, shift, tmp_path: Path) -> None:
    registrations = Registrations(tmp_path)
    found_by(shift(1, 2))
    first = registrations(pair)
    found_by(shift(3, 4))
    assert registrations(pair) is not first
    assert registrations(pair).transform.points(np.zeros((1, 2))).tolist() == [[3, 4]]


def test_only_the_last_few_are_remembered(studies: Path, found_by, shift, tmp_path: Path) -> None:
    method, registrations = found_by(shift(0, 0)), Registrations(tmp_path)
    for k in range(REMEMBERED + 1):
        Image.open(studies / "frame_2.png").save(studies / f"copy_{k}.png")
    pairs = [pair_of(studies, f"copy_{k}.png", "frame_0.png") for k in range(REMEMBERED + 1)]
    for each in [*pairs[:REMEMBERED], pairs[0], pairs[REMEMBERED]]:  # the first is asked for again, so the second goes
        registrations(each)
    assert len(method.pairs) == REMEMBERED + 1
    registrations(pairs[0])
    assert len(method.pairs) == REMEMBERED + 1
    registrations(pairs[1])
    assert len(method.pairs) == REMEMBERED + 2


class Waiting:
    """A method that waits until the test lets it go on."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.begun, self.may_end = inner, threading.Event(), threading.Event()

    def register(self, pair: Pair) -> SpatialTransform:
        self.begun.set()
        assert self.may_end.wait(20)
        return self.inner.register(pair)


def test_two_equal_requests_at_once_register_once(pair, found_by, shift, tmp_path: Path) -> None:
    method, registrations = found_by(Waiting(shift(1, 2))), Registrations(tmp_path)
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(registrations, pair)]
        assert method.begun.wait(20)
        answers += [pool.submit(registrations, pair) for _ in range(2)]
        method.may_end.set()
        found = [answer.result(20) for answer in answers]
    assert found[0] is found[1] is found[2]
    assert len(method.inner.pairs) == 1


class Failing:
    """A method that fails once."""

    def __init__(self, inner: Any, error: Exception) -> None:
        self.inner, self.error = inner, error

    def register(self, pair: Pair) -> SpatialTransform:
        error, self.error = self.error, None
        if error:
            raise error
        return self.inner.register(pair)


@pytest.mark.parametrize(
    "error", [ValueError("too flat"), RuntimeError("too flat"), ZeroDivisionError("too flat"), ImportError("too flat")]
)
def test_failure_is_told_and_not_remembered(pair, found_by, shift, tmp_path: Path, error: Exception) -> None:
    found_by(Failing(shift(1, 2), error))
    registrations = Registrations(tmp_path)
    with pytest.raises(HTTPException, match="too flat") as refusal:
        registrations(pair)
    assert refusal.value.status_code == 422
    assert registrations(pair).transform.points(np.zeros((1, 2))).tolist() == [[1, 2]]


def test_defect_is_not_taken_for_a_refusal(pair, found_by, shift, tmp_path: Path) -> None:
    found_by(Failing(shift(1, 2), TypeError("a defect")))
    with pytest.raises(TypeError, match="a defect"):
        Registrations(tmp_path)(pair)


@pytest.mark.parametrize(
    ("image", "reference", "reason"),
    [
        ("frame_2.png", "heart_ed.nii.gz", "fixed is 2D in frame 'index' but moving is 3D in frame 'RAS'"),
        ("broken.png", "frame_0.png", "path 'broken.png' cannot be read"),
        ("blank.png", "frame_0.png", "path 'blank.png' is constant"),
        ("gone.png", "frame_0.png", "No such file.*'gone.png'"),
        ("frame_0.png", "blank.png", "path 'blank.png' is constant"),
    ],
)
def test_images_that_do_not_fit_are_refused(
    studies: Path, found_by, shift, tmp_path: Path, image: str, reference: str, reason: str
) -> None:
    (studies / "broken.png").write_bytes(b"no picture")
    Image.fromarray(np.full((80, 96), 9, np.uint8)).save(studies / "blank.png")
    found_by(shift(0, 0))
    with pytest.raises(HTTPException, match=reason) as refusal:
        Registrations(tmp_path)(pair_of(studies, image, reference, label=False))
    assert refusal.value.status_code == 422
    assert str(studies) not in refusal.value.detail


def test_method_whose_extra_is_missing_is_refused(pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: Registrations, name: str) -> Any:
        raise ImportError("ants is not installed")

    monkeypatch.setattr(Registrations, "method", missing)
    with pytest.raises(HTTPException, match="ants is not installed"):
        Registrations(tmp_path)(pair)
