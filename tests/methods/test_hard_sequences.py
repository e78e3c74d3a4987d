"""Simulated films in which something happens: what registration reaches, or what it says where nothing can be reached.

The margins are wide, for weights that are trained anew; the figures reached stand in BENCHMARKS.md.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_cellreg.data.synthetic_events import HARD_FILMS, HardFilm, vanish
from monai_cellreg.data.synthetic_sequence import NucleusSequence, SequenceSettings
from monai_cellreg.data.synthetic_settings import NucleusSettings
from monai_cellreg.geometry import resample
from monai_cellreg.methods.sequence import SequenceResult, register_sequence
from monai_cellreg.methods.sequence_report import judge_sequence

SIZE = 96


def registered(film: NucleusSequence, method: str = "joint") -> SequenceResult:
    result = register_sequence(film.images[:, 0], method=method, progress=False)
    assert np.isfinite(result.warped).all()
    for each in result.transforms:
        assert bool(torch.isfinite(each.displacement(result.found.grid)).all())
    return result


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / max((first | second).sum(), 1))


def overlaps(film: NucleusSequence, result: SequenceResult) -> tuple[np.ndarray, np.ndarray]:
    """IoU (T,) of every frame's label with the first one's, before and after."""
    labels, grid = film.labels[:, 0] > 0, result.found.grid
    warped = [
        resample(torch.from_numpy(label)[None], each.transform, grid, grid, mode="nearest")[0, 0].numpy() > 0
        for label, each in zip(film.labels, result.found.maps, strict=True)
    ]
    return tuple(np.array([iou(labels[0], each) for each in group]) for group in (labels, warped))  # type: ignore[return-value]


def flags(result: SequenceResult) -> list[str]:
    return [row["flag"] for row in result.metrics]


def lost_sentence(count: int) -> str:
    return f"{count} of 5 frames could not be registered from their own content."


@pytest.mark.parametrize(("name", "method", "frames"), [("intensity", "joint", 5), ("noise", "auto", 2)])
def test_nucleus_is_registered_all_the_same(name: str, method: str, frames: int) -> None:
    film = HARD_FILMS[name](frames, SIZE, 0)
    result = registered(film, method)
    before, after = overlaps(film, result)
    assert after[1:].mean() > before[1:].mean() + 0.02
    assert after[1:].min() > 0.85
    assert "unlike" not in flags(result)


def test_frames_before_a_division_are_registered_and_some_after_it_are_said_to_be_lost() -> None:
    film = HARD_FILMS["division"](5, SIZE, 0)
    result = registered(film)
    before, after = overlaps(film, result)
    assert after[1] > before[1] + 0.02
    assert flags(result)[1] != "unlike" and flags(result)[2] == "unlike"  # 2 holds the plate
    verdict = judge_sequence(result.summary)
    assert verdict.level == "check"
    assert lost_sentence(flags(result).count("unlike")) in verdict.reasons
    near = result.found.maps[1].transform.displacement(result.found.grid)
    assert torch.equal(result.found.maps[2].transform.displacement(result.found.grid), near)


def test_nucleus_is_followed_until_it_leaves() -> None:
    film = HARD_FILMS["leaving"](5, SIZE, 0)
    result = registered(film)
    before, after = overlaps(film, result)
    assert before[1] < 0.7 and after[1] > 0.9
    assert flags(result)[4] == "unlike"
    bad = [t for t in range(1, 5) if after[t] < 0.2]
    assert all(flags(result)[t] == "unlike" for t in bad) and 4 in bad
    assert judge_sequence(result.summary).level == "check"


@pytest.mark.parametrize("seed", [0, 1])
def test_empty_frames_are_named_and_the_others_registered(seed: int) -> None:
    film = HARD_FILMS["empty"](5, SIZE, seed)
    result = registered(film)
    before, after = overlaps(film, result)
    assert [flag == "unlike" for flag in flags(result)] == [False, False, True, False, True]
    assert after[[1, 3]].mean() > before[[1, 3]].mean() + 0.03
    verdict = judge_sequence(result.summary)
    assert verdict.level == "check" and lost_sentence(2) in verdict.reasons
    grid = result.found.grid
    for empty in (2, 4):
        near, taken = (result.found.maps[t].transform.displacement(grid) for t in (empty - 1, empty))
        assert torch.equal(near, taken)


def test_film_whose_first_frame_is_empty_is_not_called_good() -> None:
    lone = SequenceSettings(NucleusSettings(neighbours=0.0, debris=0.0))
    result = registered(HardFilm(lone, lambda scene: vanish(scene, (0,)))(5, SIZE, 0))
    assert judge_sequence(result.summary).level == "check"
