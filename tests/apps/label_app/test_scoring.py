"""Scores of images: what they are, where they are kept, and when they are computed again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")

from fastapi import HTTPException

from monai_cellreg.apps.label_app import scoring
from monai_cellreg.apps.label_app.round_trip import read_labelled, read_small
from monai_cellreg.apps.label_app.scoring import PropagationScoring
from monai_cellreg.apps.label_app.trained import weights_file

if TYPE_CHECKING:
    from monai_cellreg.apps.label_app.app import RegistrationApp


@pytest.fixture
def films(app: RegistrationApp, studies: Path) -> RegistrationApp:
    """The app without volumes."""
    for path in studies.rglob("heart*"):
        path.unlink()
    app.datastore().refresh()
    return app


def score(app: RegistrationApp, **options: Any) -> dict[str, int]:
    return app.scoring({"method": "propagation", **options})


def known(app: RegistrationApp, image_id: str) -> dict[str, Any]:
    return app.datastore().get_image_info(image_id).get("propagation", {})


def counts(**numbers: int) -> dict[str, int]:
    return {"references": 1, "unchanged": 0, "scored": 0, "failed": 0, "waiting": 0, **numbers}


def test_score_is_the_overlap_of_the_label_that_came_back(films, studies: Path, found_by, shift) -> None:
    found_by(shift(2, 0))
    assert score(films) == counts(scored=5)
    label = np.asarray(Image.open(studies / "labels" / "final" / "frame_0.png")) > 0
    back = np.zeros_like(label)
    back[:-4] = label[4:]
    expected = 2 * (label & back).sum() / (label.sum() + back.sum())
    found = known(films, "frame_2")
    assert found["score"] == pytest.approx(expected, abs=1e-4)
    assert (found["reference"], found["method"]) == ("frame_0", "auto")
    assert known(films, "frame_0") == {}


def test_scores_are_kept_until_something_changes(films, studies: Path, found_by, shift) -> None:
    method = found_by(shift(1, 0))
    score(films)
    assert len(method.pairs) == 10  # five images, there and back
    before = known(films, "frame_2")
    assert score(films) == counts(unchanged=5)
    os.utime(studies / "frame_2.png", ns=(1, 1))
    assert score(films) == counts(unchanged=4, scored=1)
    assert len(method.pairs) == 12
    assert known(films, "frame_2")["score"] == before["score"]
    os.utime(studies / "labels" / "final" / "frame_0.png", ns=(1, 1))
    assert score(films) == counts(scored=5)
    assert score(films, registration="elastix") == counts(scored=5)
    assert known(films, "frame_2")["method"] == "elastix"
    assert len(method.pairs) == 32


def test_scores_survive_a_new_start(films, studies: Path, found_by, shift) -> None:
    from monailabel.datastore.local import LocalDatastore

    method = found_by(shift(1, 0))
    score(films)
    fresh = LocalDatastore(str(studies), extensions=["*.png", "*.ome.tif"])
    assert PropagationScoring(films.registrations)({}, fresh)["unchanged"] == 5
    assert len(method.pairs) == 10


def test_new_reference_counts_only_where_it_is_a_candidate(films, studies: Path, found_by, shift) -> None:
    method = found_by(shift(1, 0))
    score(films)
    before = {name: known(films, name) for name in ("cells_0", "cells_1")}
    del method.pairs[:]
    label = studies / "labels" / "final" / "frame_0.png"
    films.datastore().save_label("frame_3", str(label), "final", {})
    assert score(films) == counts(references=2, scored=4)
    after = {name: known(films, name) for name in before}
    cells = [read_small(studies / f"{name}.ome.tif") for name in before]
    again = [any(torch.equal(pair.fixed, image) for pair in method.pairs[::2]) for image in cells]
    assert again == [False, True]  # frame_0 is the nearest to both, cells_1 looks like frame_3
    assert after["cells_0"] == {**before["cells_0"], "stamp": after["cells_0"]["stamp"]} != before["cells_0"]
    assert score(films) == counts(references=2, unchanged=4)


def test_better_of_the_two_candidates_is_proposed(films, studies: Path, monkeypatch) -> None:
    labels = studies / "labels" / "final"
    values = {"frame_0": 0.25, "frame_3": 0.75, "cells_1": 0.5}
    films.datastore().save_label("frame_3", str(labels / "frame_0.png"), "final", {})
    Image.open(labels / "frame_0.png").resize((72, 60), Image.Resampling.NEAREST).save(labels / "cells_1.png")
    films.datastore().refresh()
    small = {name: read_labelled(studies / f"{name}.png", labels / "frame_0.png")[0] for name in ("frame_0", "frame_3")}

    def scored(image: Any, reference: Any, label: Any, method: Any) -> float:
        names = [name for name, other in small.items() if torch.equal(other, reference)]
        return values[names[0]] if names else values["cells_1"]

    monkeypatch.setattr(scoring, "round_trip_dice", scored)
    score(films)
    found = {name: (known(films, name)["score"], known(films, name)["reference"]) for name in ("cells_0", "frame_2")}
    assert found["frame_2"] == (0.75, "frame_3")  # the nearest; the most alike is cells_1
    assert found["cells_0"] == (0.5, "cells_1")  # the nearest; the most alike is frame_0


def test_number_of_images_is_limited_and_those_without_a_score_come_first(films, found_by, shift) -> None:
    found_by(shift(1, 0))
    assert score(films, max_images=2) == counts(scored=2, waiting=3)
    first = [each for each in films.datastore().list_images() if known(films, each)]
    assert sorted(first) == ["cells_1", "frame_2"]  # evenly spread over cells_0, cells_1, frame_1, frame_2, frame_3
    assert score(films, max_images=2, registration="elastix") == counts(scored=2, waiting=3)
    second = [each for each in films.datastore().list_images() if known(films, each).get("method") == "elastix"]
    assert not set(first) & set(second)
    assert score(films, max_images="4", registration="elastix") == counts(unchanged=2, scored=3)


def test_images_that_cannot_be_registered_say_why_and_are_left_alone(app, studies: Path, found_by, shift) -> None:
    found_by(shift(1, 0))
    (studies / "labels" / "final" / "heart_ed.nii.gz").unlink()
    (studies / "frame_3.png").write_bytes(b"no picture")
    app.datastore().refresh()
    assert score(app) == counts(scored=4, failed=3)
    for name, reason in (("heart_es", "has 3 dimensions, and no image of as many has a label"), ("frame_3", "frame_3")):
        assert known(app, name)["score"] is None
        assert reason in known(app, name)["reason"] and str(studies) not in known(app, name)["reason"]
    assert score(app) == counts(unchanged=7)


def test_empty_label_is_no_reference(films, studies: Path, found_by, shift) -> None:
    found_by(shift(1, 0))
    Image.fromarray(np.zeros((80, 96), np.uint8)).save(studies / "labels" / "final" / "frame_1.png")
    films.datastore().refresh()
    assert score(films) == counts(references=2, scored=4)
    assert known(films, "frame_2")["reference"] == "frame_0"


def test_without_labels_everything_waits(films, studies: Path) -> None:
    films.datastore().save_label("frame_1", str(studies / "frame_0.png"), "original", {})
    (studies / "labels" / "final" / "frame_0.png").unlink()
    films.datastore().refresh()
    assert score(films) == counts(references=0, waiting=6)


def test_trained_weights_are_part_of_what_can_change(films, found_by, shift) -> None:
    found_by(shift(1, 0))
    path = weights_file(films.app_dir, "joint")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"old")
    assert score(films, registration="joint-trained") == counts(scored=5)
    assert score(films, registration="joint-trained") == counts(unchanged=5)
    path.write_bytes(b"newer")
    assert score(films, registration="joint-trained") == counts(scored=5)


def test_labels_saved_meanwhile_are_kept(films, studies: Path, monkeypatch) -> None:
    """Another process of MONAI Label, which writes the same file, may have changed it since the scoring began."""
    from monailabel.datastore.local import LocalDatastore

    def saved(*_: Any) -> float:
        other = LocalDatastore(str(studies), extensions=["*.png", "*.ome.tif"])
        other.save_label("frame_1", str(studies / "frame_0.png"), "draft", {"who": "other"})
        return 0.5

    monkeypatch.setattr(scoring, "round_trip_dice", saved)
    score(films)
    fresh = LocalDatastore(str(studies), extensions=["*.png", "*.ome.tif"])
    assert fresh.get_label_info("frame_1", "draft")["who"] == "other"
    assert fresh.get_image_info("frame_1")["propagation"]["score"] == 0.5


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"registration": "elastic"}, "registration is 'elastic', expected one of .*did you mean 'elastix'"),
        ({"max_images": 0}, "max_images is 0; expected a whole number from 1"),
        ({"max_images": "all"}, "max_images is 'all'; expected a whole number"),
    ],
)
def test_other_requests_are_refused(films, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(HTTPException, match=reason) as caught:
        score(films, **options)
    assert caught.value.status_code == 422
