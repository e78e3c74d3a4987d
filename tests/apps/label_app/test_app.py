"""The app as MONAI Label uses it: what it tells, which images it takes, what it leaves behind."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")

from fastapi import HTTPException
from monailabel.config import Settings
from monailabel.utils.others.class_utils import get_class_of_subclass_from_file

from monai_cellreg import __version__
from monai_cellreg.apps.label_app.app import RegistrationApp
from monai_cellreg.apps.label_app.datastore import CheckedDatastore
from monai_cellreg.methods import method_names

FOLDER = Path(__file__).parents[3] / "monai_cellreg" / "apps" / "label_app"
PAIR = {"model": "propagate_labels", "reference": "frame_0"}


def test_monai_label_finds_the_class_in_a_copied_folder(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "main.py", tmp_path)
    for folder in (tmp_path, FOLDER):
        assert get_class_of_subclass_from_file("main", str(folder / "main.py"), "MONAILabelApp") is RegistrationApp


def test_info_tells_what_clients_need(app: RegistrationApp) -> None:
    info = json.loads(json.dumps(app.info()))
    assert (info["name"], info["version"]) == ("monai_cellreg", __version__)
    kinds = {name: model["type"] for name, model in info["models"].items()}
    assert kinds == {
        "propagate_labels": "segmentation",
        "propagate_frames": "segmentation",
        "register": "others",
        "displacement": "others",
        "transform": "others",
    }
    assert info["models"]["propagate_labels"]["labels"] == {"label 1": 1, "label 2": 2, "label 3": 3}
    assert info["labels"] == ["label 1", "label 2", "label 3"]
    assert info["models"]["propagate_labels"]["config"] == {
        "reference": ["frame_0", "heart_ed"],
        "method": method_names(),
    }
    everything = ["frame_0", "heart_ed", "cells_0", "cells_1", "frame_1", "frame_2", "frame_3", "heart_es"]
    assert info["models"]["register"]["config"]["reference"] == everything
    assert list(info["models"]["propagate_frames"]["config"]) == ["method"]
    assert set(info["trainers"]) == {"joint", "segreg", "dirnet"}
    assert set(info["strategies"]) == {"worst_propagated", "first", "random"}
    assert set(info["scoring"]) == {"propagation"}
    assert info["datastore"]["total"] == 8


def test_choices_follow_the_datastore(app: RegistrationApp, studies: Path, tmp_path: Path) -> None:
    app.datastore().save_label("cells_1", str(studies / "cells_0.ome.tif"), "final", {})
    Image.new("L", (9, 9)).save(studies / "another.png")
    (tmp_path / "work" / "model" / "joint").mkdir(parents=True)
    (tmp_path / "work" / "model" / "joint" / "model.pt").touch()
    app.datastore().refresh()
    config = app.info()["models"]["register"]["config"]
    assert config["reference"][:4] == ["cells_1", "frame_0", "heart_ed", "another"]
    assert config["method"][-1] == "joint-trained"


def test_empty_folder_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from monailabel.config import settings

    monkeypatch.setattr(settings, "MONAI_LABEL_DATASTORE_AUTO_RELOAD", False)
    app = RegistrationApp(str(tmp_path / "work"), str(tmp_path / "empty"), None)
    info = app.info()
    assert info["labels"] == [] and info["models"]["propagate_labels"]["config"]["reference"] == [""]
    with pytest.raises(HTTPException, match="reference is ''"):
        app.infer({"model": "propagate_labels", "image": "x", "reference": ""} | {"image": Path("x")})


@pytest.mark.parametrize("name", ["a.nii", "a.nrrd", "a.mha", "a.jpg", "a.tiff", "a.ome.tif", "a.ome.tiff", "a.b.png"])
def test_all_formats_are_images(app: RegistrationApp, studies: Path, name: str) -> None:
    (studies / name).touch()
    app.datastore().refresh()
    image = "a.b" if name == "a.b.png" else "a"
    assert Path(app.datastore().get_image_uri(image)) == studies / name


def test_unreadable_label_does_not_stop_the_app(app: RegistrationApp, studies: Path) -> None:
    (studies / "labels" / "final" / "frame_0.png").write_bytes(b"no picture")
    assert app.info()["models"]["propagate_labels"]["labels"] == {"label 1": 1, "label 2": 2, "label 3": 3}


@pytest.mark.parametrize("model", ["segmentation", "", None, ["register"], {"a": 1}])
def test_unknown_model_is_not_found(app: RegistrationApp, model: Any) -> None:
    with pytest.raises(HTTPException, match="model is .*expected one of 'propagate_labels'") as refusal:
        app.infer({"model": model, "image": "frame_1", "reference": "frame_0"})
    assert refusal.value.status_code == 404


def test_answer_is_saved_as_a_label_on_request(app: RegistrationApp, found_by, shift) -> None:
    found_by(shift(0, 0))
    answer = app.infer({**PAIR, "image": "frame_1"})
    assert answer["label"] == answer["file"] and Path(answer["file"]).is_file()
    assert app.datastore().get_labels_by_image_id("frame_1") == {}
    answer = app.infer({**PAIR, "image": "frame_1", "save_label": True, "label_tag": "draft"})
    assert (answer["label"], answer["tag"]) == ("frame_1", "draft")
    info = app.datastore().get_label_info("frame_1", "draft")
    assert info["model"] == "propagate_labels" and info["params"]["reference"] == "frame_0"


@pytest.mark.parametrize(("value", "is_saved"), [("true", True), ("false", False), (False, False)])
def test_switch_may_be_text(app: RegistrationApp, found_by, shift, value: Any, is_saved: bool) -> None:
    found_by(shift(0, 0))
    app.infer({**PAIR, "image": "frame_1", "save_label": value})
    assert ("original" in app.datastore().get_labels_by_image_id("frame_1")) is is_saved


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"methd": "joint"}, "parameter 'methd' is not known.*'method'"),
        ({"save_label": 1}, "save_label is 1; expected"),
    ],
)
def test_parameters_are_checked_first(app: RegistrationApp, given: dict[str, Any], reason: str) -> None:
    with pytest.raises(HTTPException, match=reason) as refusal:
        app.infer({**PAIR, "image": "frame_1", **given})
    assert refusal.value.status_code == 422


def test_answer_that_cannot_be_a_label_is_not_left_behind(app: RegistrationApp, found_by, shift, studies: Path) -> None:
    found_by(shift(0, 0))
    request = {**PAIR, "model": "transform", "image": "frame_1", "save_label": True}
    with pytest.raises(HTTPException, match="label of frame_1"):
        app.infer(request)
    assert not list(Path(tempfile.gettempdir()).iterdir()) and not list((studies / "labels" / "original").iterdir())


def test_request_is_not_changed(app: RegistrationApp, found_by, shift) -> None:
    found_by(shift(0, 0))
    request = {**PAIR, "image": "frame_1", "session": {"name": "x"}}
    before = json.dumps(request)
    app.infer(request)
    assert json.dumps(request) == before


def test_uploaded_image_is_taken_and_no_label_saved(app: RegistrationApp, found_by, shift, studies: Path) -> None:
    found_by(shift(0, 0))
    upload = Path(tempfile.NamedTemporaryFile(suffix=".v1.5.png").name)
    shutil.copy(studies / "frame_1.png", upload)
    answer = app.infer({**PAIR, "image": str(upload), "save_label": True})
    assert answer["label"] == answer["file"]
    label = np.asarray(Image.open(answer["file"]))
    assert np.array_equal(label, np.asarray(Image.open(studies / "labels" / "final" / "frame_0.png")))
    assert not (studies / "labels" / "original").exists() or not list((studies / "labels" / "original").iterdir())


def test_session_image_is_taken_for_its_session_only(
    app: RegistrationApp, found_by, shift, studies: Path, tmp_path: Path
) -> None:
    found_by(shift(0, 0))
    shutil.copy(studies / "frame_1.png", tmp_path / "sent.png")
    name, session = app.sessions().add_session(str(tmp_path / "sent.png"))
    assert app.infer({**PAIR, "image": session.image, "session": {"name": name}})["params"]["reference"] == "frame_0"
    for told in ({"name": "other"}, {"name": "../sessions/" + name}, {"name": None}, {}, None, "x"):
        with pytest.raises(HTTPException, match="does not have") as refusal:
            app.infer({**PAIR, "image": session.image, "session": told})
        assert refusal.value.status_code == 404
    with pytest.raises(HTTPException, match="does not have"):
        app.infer({**PAIR, "image": str(studies / "frame_1.png"), "session": {"name": name}})


@pytest.mark.parametrize("where", ["studies", "temporary", "below", "relative", "missing"])
def test_other_files_of_the_server_are_no_images(
    app: RegistrationApp, studies: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(studies)
    temporary = tmp_path / "temporary"
    (temporary / "tmpabcd1234").mkdir()
    path = {
        "studies": studies / "frame_1.png",
        "temporary": temporary / "notes.png",
        "below": temporary / "tmpabcd1234" / "tmpabcd1234.png",
        "relative": Path("frame_1.png"),
        "missing": temporary / "tmpabcd1234.png",
    }[where]
    if where in ("temporary", "below"):
        shutil.copy(studies / "frame_1.png", path)
    with pytest.raises(HTTPException, match="which the datastore does not have") as refusal:
        app.infer({**PAIR, "image": str(path)})
    assert refusal.value.status_code == 404


def test_nothing_is_written_but_answers(app: RegistrationApp, found_by, shift, tmp_path: Path) -> None:
    found_by(shift(0, 0))
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    Path(app.infer({**PAIR, "image": "frame_1"})["file"]).unlink()
    with pytest.raises(HTTPException):
        app.infer({**PAIR, "image": "../frame_1"})
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before


def test_setting_of_extensions_keeps_the_checks(
    app: RegistrationApp, studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = Settings(MONAI_LABEL_DATASTORE_FILE_EXT=["*.nii.gz"])
    monkeypatch.setattr("monai_cellreg.apps.label_app.app.settings", chosen)
    app.studies = str(tmp_path / "others")
    Path(app.studies).mkdir()
    for name in ("frame_1.png", "heart_es.nii.gz"):
        shutil.copy(studies / name, app.studies)
    store = app.init_datastore()
    assert isinstance(store, CheckedDatastore)
    assert store.list_images() == ["heart_es"]
