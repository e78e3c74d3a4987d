from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import nn

from monai_cellreg.geometry import AffineTransform, DenseTransform, Pair, SamplingGrid, SpatialTransform
from monai_cellreg.inferers import FrameMap, PairInferer, SequenceMaps, SequenceRegistration
from monai_cellreg.methods import LearnedMethod, sequence_store
from monai_cellreg.methods.sequence_frames import MovieFrames
from monai_cellreg.methods.sequence_store import StoredMaps, method_hash, transform_name
from monai_cellreg.networks import JointSegmentationRegistration

SHAPE = (24, 33)


class Numbered:
    """Tells frames by their brightest pixel and bends one onto the other, so that files hold fields. Counts calls."""

    calls, stop_at = 0, -1

    def __init__(self, size: float = 1.0) -> None:
        self.size = size

    def register(self, pair: Pair) -> SpatialTransform:
        if Numbered.calls == Numbered.stop_at:
            raise KeyboardInterrupt
        Numbered.calls += 1
        first, second = (bend(round(float(image.max())) % 4) for image in (pair.fixed, pair.moving))
        return DenseTransform(torch.from_numpy(self.size * (second - first))[None], pair.fixed_grid)


def bend(t: int) -> np.ndarray:
    """Displacement (2, *SHAPE) that brings frame t onto frame 0."""
    return t * np.stack([np.sin(np.indices(SHAPE)[1] / 4), np.cos(np.indices(SHAPE)[0] / 5)]) / 2


@pytest.fixture(autouse=True)
def count_from_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Numbered, "calls", 0)


def film() -> np.ndarray:
    """Smooth noise, bent further in every frame."""
    first = gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), 1.5)
    frames = [map_coordinates(first, np.indices(SHAPE) - bend(t), order=1, mode="nearest") for t in range(4)]
    return np.stack([frame / frame.max() + 7 + t for t, frame in enumerate(frames)]).astype(np.float32)


def run(
    movie: np.ndarray, folder: Path, *, reference: str | int = "first", method: Numbered | None = None
) -> tuple[SequenceMaps, int]:
    """The maps, and how often the method was called."""
    frames, before = MovieFrames(movie), Numbered.calls
    method = method or Numbered()
    maps = StoredMaps(folder, frames, method_hash(method), reference)
    found = SequenceRegistration(reference)(frames, method.register, maps=maps)
    return found, Numbered.calls - before


@pytest.mark.parametrize("reference", ["first", "previous", "mean", 2])
def test_interrupted_run_goes_on_and_gives_exactly_the_same(
    tmp_path: Path, reference: str | int, monkeypatch: pytest.MonkeyPatch
) -> None:
    movie, grid = film(), SamplingGrid(SHAPE)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Numbered, "stop_at", 2)
        run(movie, tmp_path / "a", reference=reference)
    resumed, remaining = run(movie, tmp_path / "a", reference=reference)
    whole, all_calls = run(movie, tmp_path / "b", reference=reference)
    assert 0 < remaining < all_calls and isinstance(whole.maps[3].transform, DenseTransform)
    for a, b in zip(resumed.maps, whole.maps, strict=True):
        np.testing.assert_array_equal(a.transform.displacement(grid), b.transform.displacement(grid))
        assert (a.flag, a.similarity) == (b.flag, b.similarity) or np.isnan(a.similarity)
    assert run(movie, tmp_path / "a", reference=reference)[1] == 0


@pytest.mark.parametrize("change", ["movie", "method", "reference"])
def test_maps_of_another_run_are_not_used(tmp_path: Path, change: str) -> None:
    movie = film()
    _, calls = run(movie, tmp_path)
    (tmp_path / "transforms" / "mine.h5").write_text("")
    other = movie[:3].copy()
    if change == "movie":
        other[2, 5, 5] += 1e-3
    else:
        other = movie
    method, reference = Numbered(1.5 if change == "method" else 1.0), 1 if change == "reference" else "first"
    found, again = run(other, tmp_path, reference=reference, method=method)
    assert again >= len(other) - 1
    names = sorted(path.name for path in (tmp_path / "transforms").iterdir())
    assert names == ["mine.h5", *[f"t00{t}.h5" for t in range(len(other))]]


def test_maps_of_a_run_without_smoothing_are_used_by_one_with_it_and_back(tmp_path: Path) -> None:
    """What was found lies apart while the smooth maps have its place, and is moved, not found again."""
    frames, grid, places = MovieFrames(film()), SamplingGrid(SHAPE), []
    raw: list[np.ndarray] = []
    for apart in (False, True, True, False):
        before = Numbered.calls
        maps = StoredMaps(tmp_path, frames, "x", "first", apart=apart)
        found = SequenceRegistration()(frames, Numbered().register, maps=maps)
        raw.append(np.stack([each.transform.displacement(grid)[0].numpy() for each in found.maps]))
        assert (Numbered.calls == before) == bool(places)
        places.append(sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.h5")))
        if apart:
            (tmp_path / "transforms" / "t003.h5").write_text("smooth")
    names = [f"t00{t}.h5" for t in range(4)]
    assert places[0] == places[3] == [f"transforms/{name}" for name in names]
    assert places[1] == [f"transforms/rounds/0/{name}" for name in names]
    assert all((each == raw[0]).all() for each in raw)


def test_a_move_that_was_stopped_is_taken_up(tmp_path: Path) -> None:
    run(film(), tmp_path)
    first = tmp_path / "transforms" / "t001.h5"
    (tmp_path / "transforms" / "rounds" / "0").mkdir(parents=True)
    first.rename(tmp_path / "transforms" / "rounds" / "0" / "t001.h5")
    maps = StoredMaps(tmp_path, MovieFrames(film()), method_hash(Numbered()), "first", apart=True)
    assert all((0, t) in maps for t in range(4))


def test_rounds_of_a_mean_do_not_survive_another_reference(tmp_path: Path) -> None:
    run(film(), tmp_path, reference="mean")
    assert list(tmp_path.glob("transforms/rounds/0/t003.h5")) and not list(tmp_path.glob("transforms/t*"))
    run(film(), tmp_path)
    assert not list(tmp_path.glob("transforms/rounds/*/*")) and list(tmp_path.glob("transforms/t003.h5"))


@pytest.mark.parametrize("content", ['{"run": ', "[1]", ""])
def test_damaged_manifest_starts_anew(tmp_path: Path, content: str) -> None:
    _, calls = run(film(), tmp_path)
    (tmp_path / "sequence.json").write_text(content)
    assert run(film(), tmp_path)[1] == calls


def test_deleted_map_is_found_again(tmp_path: Path) -> None:
    run(film(), tmp_path)
    (tmp_path / "transforms" / "t002.h5").unlink()
    assert 0 < run(film(), tmp_path)[1] <= 2


def test_failed_maps_are_tried_again(tmp_path: Path) -> None:
    frames = MovieFrames(film())
    maps = StoredMaps(tmp_path, frames, "x", "first")
    maps[0, 1] = FrameMap(AffineTransform.translation([1.0, 2.0]), "failed", reason="no")
    maps[0, 2] = FrameMap(AffineTransform.translation([1.0, 2.0]), "registered", 0.5, 3.0)
    assert list(maps) == [(0, 1), (0, 2)] and np.isnan(maps[0, 1].similarity) and maps[0, 1].reason == "no"
    opened = StoredMaps(tmp_path, frames, "x", "first")
    assert (0, 1) not in opened and list(opened) == [(0, 2)] and len(opened) == 1
    assert (opened[0, 2].flag, opened[0, 2].similarity, opened[0, 2].seconds) == ("registered", 0.5, 3.0)
    np.testing.assert_array_equal(opened[0, 2].transform.points(np.zeros((1, 2))), [[1.0, 2.0]])
    assert json.loads((tmp_path / "sequence.json").read_text())["run"]["method"] == "x"
    del opened[0, 2]
    assert not opened and not (tmp_path / "transforms" / "t002.h5").exists()


def test_methods_are_told_apart_by_their_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    class Local(Numbered):  # cannot be pickled
        pass

    assert method_hash(Numbered()) == method_hash(Numbered()) != method_hash(Numbered(2.0))
    assert method_hash(Local()) != method_hash(Local())
    monkeypatch.setattr(sequence_store, "load_method", {"ants": Local(), "a": Numbered(), "b": Numbered(2)}.get)
    assert method_hash("ants") == "ants"
    assert method_hash("a") != method_hash("b") and method_hash("a").startswith("a ")


def learned(*, seed: int = 0, passes: int = 1, size: int = 32) -> LearnedMethod:
    torch.manual_seed(seed)
    network = JointSegmentationRegistration((size, size), transformer="gaussian", segment=False)
    nn.init.normal_(network.registration.stages[0].network.out.weight, std=0.02)
    return LearnedMethod(network, PairInferer(passes))


def test_learned_methods_are_told_apart_by_their_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    method, hashes = learned(), [method_hash(learned(**other)) for other in ({"seed": 1}, {"passes": 2}, {"size": 64})]
    first = method_hash(method)
    assert len({first, *hashes}) == 4
    method.network.train()
    method.register(Pair.of(*torch.rand(2, 1, 40, 50, generator=torch.Generator().manual_seed(0))))
    assert method_hash(method) == first == method_hash(learned())  # whatever was done with it, wherever it lies
    with torch.no_grad():
        next(method.network.parameters()).view(-1)[-1] += 1e-3
    monkeypatch.setattr(sequence_store, "load_method", {"segreg": learned(), "retrained": method}.get)
    assert len({method_hash(method), first, *hashes}) == 5
    assert method_hash("segreg").split()[1] == first.split()[1] != method_hash("retrained").split()[1]


def test_maps_of_weights_that_were_trained_again_are_not_used(tmp_path: Path) -> None:
    movie, kept = film(), []
    for method in (learned(), learned(), learned(seed=1)):
        frames = MovieFrames(movie)
        maps = StoredMaps(tmp_path, frames, method_hash(method), "first")
        kept.append(len(maps))
        SequenceRegistration()(frames, method.register, maps=maps)
    assert kept == [0, 4, 0]
    manifest = json.loads((tmp_path / "sequence.json").read_text())
    manifest["run"]["method"] = "segreg"  # as written when a name was all
    (tmp_path / "sequence.json").write_text(json.dumps(manifest))
    assert not StoredMaps(tmp_path, MovieFrames(movie), method_hash(method), "first")


@pytest.mark.parametrize(("count", "name"), [(5, "t004.h5"), (1000, "t004.h5"), (1001, "t0004.h5")])
def test_names_sort_as_frames_do(count: int, name: str) -> None:
    assert transform_name(4, count) == name
