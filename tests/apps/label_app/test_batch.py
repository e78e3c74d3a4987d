"""One reference brought onto many images."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")

from fastapi import HTTPException
from monailabel.interfaces.tasks.batch_infer import BatchInferImageType

if TYPE_CHECKING:
    from monai_cellreg.apps.label_app.app import RegistrationApp

BATCH = {"model": "propagate_labels", "reference": "frame_0", "method": "joint"}
FRAMES = ["frame_1", "frame_2", "frame_3"]


@pytest.fixture
def frames_only(app: RegistrationApp, studies: Path) -> RegistrationApp:
    """The app on the frames alone."""
    for other in (*studies.glob("heart*"), *studies.glob("cells*")):
        other.unlink()
    app.datastore().refresh()
    return app


def test_every_other_image_gets_a_label(frames_only, found_by, shift, studies: Path) -> None:
    found_by(shift(3, -2))
    result = frames_only.batch_infer({**BATCH, "images": "all"})
    json.dumps(result, allow_nan=False)
    assert list(result) == FRAMES
    source = np.pad(np.asarray(Image.open(studies / "labels/final/frame_0.png")), 3)
    for name in FRAMES:
        assert result[name]["label"] == name and result[name]["tag"] == "original" and "file" not in result[name]
        assert result[name]["params"]["reference"] == "frame_0"
        label = np.asarray(Image.open(frames_only.datastore().get_label_uri(name, "original")))
        assert np.array_equal(label, source[6:86, 1:97])
        assert frames_only.datastore().get_label_info(name, "original")["params"]["label_names"] == {"label 1": 1}
    assert frames_only.datastore().get_labels_by_image_id("frame_0") == {"final": "frame_0"}


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ("all", FRAMES),
        ("unlabeled", ["frame_1", "frame_3"]),
        ("labeled", ["frame_2"]),
        (BatchInferImageType.IMAGES_UNLABELED, ["frame_1", "frame_3"]),
        (["frame_3", "frame_0"], ["frame_3"]),
    ],
)
def test_images_are_chosen(frames_only, found_by, shift, studies: Path, images: Any, expected: list[str]) -> None:
    frames_only.datastore().save_label("frame_2", str(studies / "labels" / "final" / "frame_0.png"), "final", {})
    found_by(shift(0, 0))
    assert list(frames_only.batch_infer({**BATCH, "images": images})) == expected


def test_batch_alone_takes_no_unknown_word_for_all(frames_only) -> None:
    with pytest.raises(HTTPException, match="images is 'unlabelled'"):
        frames_only._batch_infer.get_images({"images": "unlabelled"}, frames_only.datastore())


def test_size_and_tag_are_chosen(frames_only, found_by, shift) -> None:
    found_by(shift(0, 0))
    result = frames_only.batch_infer({**BATCH, "max_batch_size": 2, "label_tag": "draft", "max_workers": 2})
    assert list(result) == FRAMES[:2]
    assert frames_only.datastore().get_labels_by_image_id("frame_1") == {"draft": "frame_1"}


def test_one_image_that_fails_does_not_end_it(frames_only, found_by, shift, studies: Path, caplog) -> None:
    (studies / "frame_1.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((80, 96), np.uint8)).save(studies / "frame_3.png")
    found_by(shift(0, 0))
    with caplog.at_level(logging.INFO, "monai_cellreg.apps.label_app.batch"):
        result = frames_only.batch_infer({**BATCH, "images": "all"})
    assert "path 'frame_1' cannot be read" in result["frame_1"]["error"]
    assert "path 'frame_3' is constant" in result["frame_3"]["error"]
    assert result["frame_2"]["label"] == "frame_2"
    lines = [record.getMessage() for record in caplog.records]
    assert "batch of 3 images" in lines
    assert any(line.startswith("1 of 3 images after ") and "frame_1 failed: path 'frame_1'" in line for line in lines)
    assert any(line.startswith("2 of 3 images after ") and line.endswith("frame_2 done") for line in lines)


def test_defect_of_one_image_is_told(frames_only, found_by, shift, monkeypatch: pytest.MonkeyPatch) -> None:
    found_by(shift(0, 0))
    save = frames_only.datastore().save_label

    def failing(image: str, *rest: Any) -> str:
        if image == "frame_2":
            raise KeyError("a defect")
        return save(image, *rest)

    monkeypatch.setattr(frames_only.datastore(), "save_label", failing)
    result = frames_only.batch_infer({**BATCH, "images": "all"})
    assert result["frame_2"] == {"error": "KeyError: 'a defect'"}
    assert result["frame_3"]["label"] == "frame_3"


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        ({**BATCH, "reference": "frame_9"}, 404, "reference is 'frame_9'"),
        ({**BATCH, "reference": "frame_1"}, 404, "reference 'frame_1' has no label"),
        ({"model": "propagate_labels"}, 422, "reference is None.*of a batch that is the body"),
        ({**BATCH, "images": "unlabelled"}, 422, "images is 'unlabelled', expected one of 'all'.*mean 'unlabeled'"),
        ({**BATCH, "images": None}, 422, "images is None, expected one of 'all', 'labeled', 'unlabeled'"),
        ({**BATCH, "images": ["frame_1", 2]}, 422, r"images is \['frame_1', 2\]"),
        ({**BATCH, "methd": "affine"}, 422, "parameter 'methd' is not known.*did you mean"),
        ({**BATCH, "save_label": "no"}, 422, "save_label is 'no'; expected true or false"),
        ({**BATCH, "method": "jiont"}, 422, "did you mean 'joint'"),
        ({**BATCH, "model": "propagate"}, 404, "model is 'propagate'"),
    ],
)
def test_what_fails_for_all_images_is_refused_at_once(
    frames_only, request_: dict[str, Any], status: int, reason: str
) -> None:
    with pytest.raises(HTTPException, match=reason) as refusal:
        frames_only.batch_infer(request_)
    assert refusal.value.status_code == status


def test_works_in_the_process_that_monai_label_starts(studies: Path, tmp_path: Path) -> None:
    import monai_cellreg.apps.label_app

    folder = Path(monai_cellreg.apps.label_app.__file__).parent
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "main.py").write_text((folder / "main.py").read_text())
    request = {**BATCH, "images": "unlabeled", "device": "cuda", "multi_gpu": True, "gpus": "all"}
    command = [sys.executable, "-m", "monailabel.interfaces.utils.app", "-m", "batch_infer"]
    environment = {**os.environ, "MONAI_LABEL_DATASTORE_AUTO_RELOAD": "false"}
    result = tmp_path / "result.json"
    finished = subprocess.run(
        [*command, "-a", tmp_path / "work", "-s", studies, "-r", json.dumps(request), "-o", result],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    labels = json.loads(result.read_text())
    assert [name for name in labels if "error" not in labels[name]] == ["cells_0", "cells_1", *FRAMES]
    assert "expected" in labels["heart_es"]["error"]
    assert "of 6 images after" in finished.stdout + finished.stderr
    assert {path.name for path in (studies / "labels" / "original").iterdir()} >= {f"{name}.png" for name in FRAMES}
