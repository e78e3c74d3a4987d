"""Which requests are taken, and why others are not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")

from fastapi import HTTPException

from monai_cellreg.apps.label_app.pairs import image_file, read_pair

if TYPE_CHECKING:
    from monai_cellreg.apps.label_app.app import RegistrationApp
    from monai_cellreg.apps.label_app.pairs import ReferencePair

METHODS = ("auto", "joint")


def read(app: RegistrationApp, *, needs_label: bool = True, **request: Any) -> ReferencePair:
    return read_pair(request, app.datastore(), needs_label=needs_label, methods=METHODS)


def test_pair_knows_its_files(app, studies: Path) -> None:
    pair = read(app, image="frame_2", reference="frame_0", method="joint")
    assert (pair.image_id, pair.reference_id, pair.method) == ("frame_2", "frame_0", "joint")
    assert (pair.fixed, pair.moving) == (studies / "frame_2.png", studies / "frame_0.png")
    assert pair.moving_label == studies / "labels" / "final" / "frame_0.png"
    assert pair.fixed_label is None
    assert pair.label_names == {"label 1": 1}


def test_what_is_left_out_has_a_default(app) -> None:
    assert read(app, image="frame_2", reference="frame_0").method == "auto"
    assert read(app, image="frame_0", reference="frame_2", needs_label=False).moving_label is None


def test_finished_label_counts_before_a_suggested_one(app, studies: Path) -> None:
    for name in ("frame_0", "frame_1"):
        app.datastore().save_label(name, str(studies / "frame_2.png"), "original", {})
    assert read(app, image="frame_2", reference="frame_0").moving_label.parent.name == "final"
    assert read(app, image="frame_2", reference="frame_1").moving_label.parent.name == "original"
    chosen = read(app, image="frame_2", reference="frame_0", reference_tag="original")
    assert chosen.moving_label == studies / "labels" / "original" / "frame_0.png"
    assert read(app, image="frame_1", reference="frame_0").fixed_label is None  # nobody has finished it
    assert read(app, image="frame_0", reference="frame_1").fixed_label.parent.name == "final"


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        ({"reference": "frame_0"}, 422, "image is None; expected the id of an image"),
        (
            {"image": "", "reference": "frame_0"},
            422,
            r"image is ''; expected the id.*Add image to the address, as \?image=ID",
        ),
        ({"image": ["frame_2"], "reference": "frame_0"}, 422, r"image is \['frame_2'\]; expected the id"),
        ({"image": "frame_9", "reference": "frame_0"}, 404, "image is 'frame_9'.*does not have.*'cells_0', 'cells_1'"),
        ({"image": "../../etc/passwd", "reference": "frame_0"}, 404, "image is '../../etc/passwd'.*does not have"),
        (
            {"image": "frame_2"},
            422,
            'reference is None; expected the id of.*Add reference to.*form field params, as params={"ref',
        ),
        ({"image": "frame_2", "reference": "frame_9"}, 404, "reference is 'frame_9'.*does not have"),
        ({"image": "frame_0", "reference": "frame_0"}, 422, "reference is 'frame_0', the image itself"),
        (
            {"image": "frame_2", "reference": "frame_1"},
            404,
            "reference 'frame_1' has no label; expected.*final or orig",
        ),
        (
            {"image": "frame_2", "reference": "frame_0", "reference_tag": "draft"},
            404,
            "reference_tag is 'draft' but reference 'frame_0' has labels with the tags 'final'; expected.*draft",
        ),
        ({"image": "frame_2", "reference": "frame_0", "reference_tag": 3}, 422, "reference_tag is 3; expected text"),
        (
            {"image": "frame_2", "reference": "frame_0", "method": "jiont"},
            422,
            "method is 'jiont'.*did you mean 'joint'",
        ),
        (
            {"image": "frame_2", "reference": "frame_0", "method": ["joint"]},
            422,
            r"method is \['joint'\], expected one",
        ),
    ],
)
def test_wrong_request_is_refused_with_a_reason(app, request_: dict[str, Any], status: int, reason: str) -> None:
    with pytest.raises(HTTPException, match=reason) as refusal:
        read(app, **request_)
    assert refusal.value.status_code == status


def test_image_whose_file_is_gone_is_not_found(app, studies: Path) -> None:
    (studies / "frame_2.png").unlink()
    with pytest.raises(HTTPException, match="image 'frame_2' has no file any more") as refusal:
        read(app, image="frame_2", reference="frame_0")
    assert refusal.value.status_code == 404


def test_path_of_an_existing_file_is_no_id(app, studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(studies)
    with pytest.raises(HTTPException, match="does not have"):
        image_file({"image": "frame_2.png"}, app.datastore())
    assert image_file({"image": Path("x.png")}, app.datastore()) == ("x.png", Path("x.png"))  # of an upload


def test_damaged_label_is_told_without_the_servers_paths(app, studies: Path) -> None:
    (studies / "labels" / "final" / "frame_0.png").write_bytes(b"no picture")
    with pytest.raises(HTTPException, match="path 'label of frame_0' cannot be read") as refusal:
        read(app, image="frame_2", reference="frame_0")
    assert str(studies) not in refusal.value.detail
