"""The protocol of the paper, on squares whose overlap is known by counting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from monai_cellreg.benchmarks.contenders import Contender
from monai_cellreg.benchmarks.nuclei_run import frame_scores, measured
from monai_cellreg.benchmarks.nuclei_sequences import Film, Sequences
from monai_cellreg.geometry import AffineTransform, Pair, SpatialTransform

SHIFTS = (2, 3)  # rows by which the later frames have moved down; the nucleus is 6 rows high
BEFORE = [(6 - shift) / (6 + shift) for shift in SHIFTS]


def film() -> Film:
    """A rectangle of 6 rows and 5 columns that moves down."""
    labels = torch.zeros(3, 1, 20, 26)
    for t, shift in enumerate((0, *SHIFTS)):
        labels[t, 0, 4 + shift : 10 + shift, 8:13] = 1
    return Film(0.2 + 0.5 * labels, labels)


class Shift:
    """Answers with a shift in rows; counts calls; in batches where it is told to."""

    def __init__(self, rows: float | None) -> None:
        self.rows, self.seen = rows, list[Pair]()

    def register(self, pair: Pair) -> SpatialTransform:
        self.seen.append(pair)
        if self.rows is None:
            raise RuntimeError("no\nway")
        return AffineTransform.translation([self.rows, 0.0])


class Batch(Shift):
    """Answers right for a batch."""

    def register_batch(self, pairs: Sequence[Pair]) -> list[SpatialTransform]:
        if self.rows is None:
            raise ValueError("too many")
        self.seen += pairs
        return [AffineTransform.translation([float(shift), 0.0]) for shift in SHIFTS]


def sequences(count: int = 2) -> Sequences:
    return Sequences("made", {f"film{k}": film for k in range(count)}, "a")


def contender(method: Shift, name: str = "one", weights: str = "") -> Contender:
    return Contender(name, method, name, weights)


@pytest.mark.parametrize(("rows", "after"), [(0, 4 / 8), (2, 1.0), (-1, 3 / 9), (1, 5 / 7)])
def test_overlap_is_what_counting_gives(rows: float, after: float) -> None:
    found = frame_scores(film().pairs()[0], AffineTransform.translation([rows, 0.0]))
    assert found == pytest.approx({"iou_before": 4 / 8, "iou_after": after, "folding_fraction": 0.0})


def test_labels_are_warped_without_mixing() -> None:
    pair = film().pairs()[0]
    assert frame_scores(pair, AffineTransform.translation([1.6, 0.0]))["iou_after"] == 1.0


def test_every_frame_of_every_film_is_scored_by_every_method(tmp_path: Path) -> None:
    right, still = Batch(0.0), Shift(0.0)
    rows = measured(sequences(), [contender(right, "right"), contender(still, "still")], tmp_path)
    keys = [(row["sequence"], row["name"], row["frame"]) for row in rows]
    names = ("unregistered", "right", "still")
    assert keys == [(f"film{k}", name, t) for k in range(2) for name in names for t in (1, 2)]
    for row in rows:
        assert row["iou_before"] == pytest.approx(BEFORE[row["frame"] - 1])
        assert row["iou_after"] == pytest.approx(1.0 if row["name"] == "right" else row["iou_before"])
        assert row["failure"] is None and "segmentation_iou" not in row
        assert row["pair"] == f"{row['sequence']} t{row['frame']:02d}"
    assert all(pair.fixed_label is None and pair.moving_label is None for pair in (*right.seen, *still.seen))
    assert len({row["seconds"] for row in rows if row["name"] == "right" and row["sequence"] == "film0"}) == 1


def test_what_fails_counts_as_unregistered_and_is_tried_again(tmp_path: Path) -> None:
    rows = measured(sequences(1), [contender(Batch(None), "broken"), contender(Shift(float("nan")), "lost")], tmp_path)
    for row in rows[2:]:
        assert row["iou_after"] == row["iou_before"] and row["failure"]
    assert rows[2]["failure"] == "RuntimeError: no way"
    mended = Batch(0.0)
    again = measured(sequences(1), [contender(mended, "broken")], tmp_path)
    assert [row["iou_after"] for row in again[2:]] == [1.0, 1.0] and len(mended.seen) == 2


def test_a_stopped_run_goes_on_and_other_weights_are_measured_again(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop() -> Film:
        raise Stopped

    first = Shift(2.0)
    with pytest.raises(Stopped):
        measured(Sequences("made", {"film0": film, "film1": stop}, "a"), [contender(first, weights="x")], tmp_path)
    assert len(first.seen) == 2
    measured(sequences(), [contender(first, weights="x")], tmp_path)
    assert len(first.seen) == 4
    measured(sequences(), [contender(first, weights="x")], tmp_path)
    assert len(first.seen) == 4
    rows = measured(sequences(), [contender(first, weights="y")], tmp_path)
    assert len(first.seen) == 8 and {row["weights"] for row in rows} == {"", "y"}
    measured(sequences(), [contender(first, weights="y")], tmp_path, resume=False)
    assert len(first.seen) == 12
    with pytest.raises(ValueError, match="holds the results of another case"):
        measured(Sequences("made", sequences().films, "b"), [], tmp_path)
