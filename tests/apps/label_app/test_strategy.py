"""Which image is asked for next, and why."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")

from monai_cellreg.apps.label_app import strategy
from monai_cellreg.apps.label_app.natural_order import natural_order
from monai_cellreg.apps.label_app.strategy import WorstPropagated

if TYPE_CHECKING:
    from monai_cellreg.apps.label_app.app import RegistrationApp

UNLABELLED = ["cells_0", "cells_1", "frame_1", "frame_2", "frame_3", "heart_es"]


def ask(app: RegistrationApp) -> dict[str, Any] | None:
    return WorstPropagated()({"strategy": "worst_propagated"}, app.datastore())


def give_scores(app: RegistrationApp, reference: str = "frame_0", **scores: float | None) -> None:
    for image_id, value in scores.items():
        found = {"score": value, "reference": reference, "method": "auto"}
        app.datastore().update_image_info(image_id, {"propagation": found})


def hand_out(app: RegistrationApp, image_id: str, seconds_ago: float, name: str = "worst_propagated") -> None:
    info = {"strategy": {name: {"ts": int(time.time() - seconds_ago), "client_id": "other"}}}
    app.datastore().update_image_info(image_id, info)


def test_lowest_score_comes_first(app) -> None:
    give_scores(app, frame_1=0.7, frame_2=0.4, cells_0=0.5)
    assert ask(app) == {"id": "frame_2", "rule": "lowest score", "score": 0.4, "reference": "frame_0"}
    app.datastore().save_label("frame_2", app.datastore().get_image_uri("frame_2"), "final", {})
    assert ask(app)["id"] == "cells_0"


def test_scores_of_another_process_are_seen(app, studies: Path) -> None:
    from monailabel.datastore.local import LocalDatastore

    assert ask(app)["score"] is None
    other = LocalDatastore(str(studies), extensions=["*.png", "*.nii.gz", "*.ome.tif"])
    other.update_image_info("frame_3", {"propagation": {"score": 0.3, "reference": "heart_ed", "method": "auto"}})
    assert ask(app)["id"] == "frame_3"


def test_images_without_a_score_follow_the_farthest_from_labels_first(app, studies: Path) -> None:
    # cells_0, cells_1, [frame_0], frame_1, frame_2, frame_3, [heart_ed], heart_es
    found = ask(app)
    assert (found["id"], found["score"], found["reference"]) == ("cells_0", None, None)
    assert found["rule"] == "no score yet, farthest from labelled images"
    give_scores(app, frame_1=0.9, cells_0=None)  # a score of None is none
    assert ask(app)["id"] == "frame_1"
    app.datastore().save_label("cells_0", str(studies / "cells_0.ome.tif"), "final", {})
    give_scores(app, frame_1=None)
    assert ask(app)["id"] == "frame_2"  # two away; cells_1, frame_1, frame_3 and heart_es are one away


def test_score_by_a_label_that_was_removed_counts_no_more(app, studies: Path) -> None:
    give_scores(app, reference="frame_0", frame_1=0.1)
    give_scores(app, reference="heart_ed", frame_2=0.2)
    assert ask(app)["id"] == "frame_1"
    (studies / "labels" / "final" / "frame_0.png").unlink()
    assert ask(app)["id"] == "frame_2"


def test_images_that_were_handed_out_come_last(app) -> None:
    give_scores(app, **{name: 0.1 * k for k, name in enumerate(UNLABELLED, 1)})
    assert ask(app)["id"] == "cells_0"
    hand_out(app, "cells_0", 60)
    assert ask(app)["id"] == "cells_1"
    hand_out(app, "cells_1", 90, name="random")  # whichever strategy it was
    assert ask(app)["id"] == "frame_1"
    hand_out(app, "frame_1", 4000)  # long ago
    assert ask(app)["id"] == "frame_1"
    for name in UNLABELLED[2:]:
        hand_out(app, name, 30)
    found = ask(app)
    assert (found["id"], found["rule"], found["score"]) == ("cells_1", "handed out longest ago", 0.2)


def test_nothing_is_left_when_all_are_labelled(app, studies: Path) -> None:
    for name in UNLABELLED:
        app.datastore().save_label(name, app.datastore().get_image_uri(name), "final", {})
    assert ask(app) is None


@pytest.fixture
def unlabelled(app: RegistrationApp, studies: Path) -> RegistrationApp:
    """The app on eleven stripes that wander, so that the middle one is most like all others, and nothing labelled."""
    for path in [each for each in studies.rglob("*.*") if each.is_file() and each.suffix in (".png", ".gz", ".tif")]:
        path.unlink()
    for k in range(11):
        place = {9: 0, 10: 1}.get(k, k + 2)  # numbered otherwise than they wander
        distance = (np.arange(90) - 25 - 4 * place)[None, :] / 15
        picture = 200 * np.exp(-(distance**2)) * np.ones((60, 1))
        Image.fromarray(picture.astype(np.uint8)).save(studies / f"film_{k}.png")
    app.datastore().refresh()
    return app


def test_first_reference_is_the_most_central_image(unlabelled) -> None:
    found = ask(unlabelled)
    assert found == {
        "id": "film_3",
        "rule": "nothing is labelled: most like all others",
        "score": None,
        "reference": None,
    }
    hand_out(unlabelled, "film_3", 10)
    assert ask(unlabelled)["id"] in ("film_2", "film_4")
    for k in range(11):
        hand_out(unlabelled, f"film_{k}", 10)
    assert ask(unlabelled)["id"] == "film_3"


@pytest.mark.parametrize(("limit", "value"), [("MOST_FILES", 10), ("MOST_BYTES", 1000)])
def test_first_reference_of_many_images_is_the_middle_one(unlabelled, monkeypatch, limit: str, value: int) -> None:
    monkeypatch.setattr(strategy, limit, value)
    assert ask(unlabelled)["id"] == "film_5"
    assert ask(unlabelled)["rule"] == "nothing is labelled: the middle of the order"


def test_unreadable_images_are_passed_over(unlabelled, studies: Path) -> None:
    (studies / "film_3.png").write_bytes(b"no picture")
    assert ask(unlabelled)["id"] in ("film_2", "film_4")
    for path in studies.glob("*.png"):
        path.write_bytes(b"no picture")
    assert ask(unlabelled)["id"] == "film_5"


def test_ids_are_ordered_as_people_number_them() -> None:
    ids = ["t2", "t10", "t1", "a_3_b", "a_3", "a", "12", "9", "t010x"]
    assert sorted(ids, key=natural_order) == ["9", "12", "a", "a_3", "a_3_b", "t1", "t2", "t10", "t010x"]


@pytest.mark.parametrize(
    ("strategy", "is_server", "renewed"),
    [("worst_propagated", True, ["propagation"]), ("worst_propagated", False, []), ("first", True, [])],
)
def test_scores_are_renewed_after_an_answer_of_a_server(app, monkeypatch, strategy, is_server, renewed) -> None:
    asked: list[str] = []
    monkeypatch.setattr(app, "async_scoring", asked.append)
    monkeypatch.setattr(app, "_auto_update_scoring", False)  # as our server has it: MONAI Label's own would add to it
    app.server_mode(is_server)
    assert app.next_sample({"strategy": strategy})["id"]
    assert asked == renewed
