"""Batches give what registrations one by one give, with fewer calls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, shift
from skimage.registration import phase_cross_correlation

from monai_cellreg.geometry import AffineTransform, Pair, SamplingGrid, SpatialTransform
from monai_cellreg.inferers import FrameMap, SequenceMaps, SequenceRegistration
from monai_cellreg.inferers import batches as module

SHAPE = (32, 40)


class Film(list[torch.Tensor]):
    frame = list.__getitem__


class Phase:
    """Translation by phase correlation; as a class it counts calls, batches and frames in memory."""

    def __init__(self, *, half: bool = False, refuses: bool = False) -> None:
        self.factor, self.refuses = 0.5 if half else 1.0, refuses
        self.single, self.batches = 0, []

    def register(self, pair: Pair) -> SpatialTransform:
        self.single += 1
        return self._found(pair)

    def register_batch(self, pairs: Sequence[Pair]) -> list[SpatialTransform]:
        self.batches.append(len(pairs))
        if self.refuses:
            raise ValueError("one of these I do not take")
        return [self._found(pair) for pair in pairs]

    def _found(self, pair: Pair) -> SpatialTransform:
        if not bool(torch.isfinite(torch.as_tensor(pair.moving)).all()) or float(pair.moving.std()) == 0:
            raise ValueError("nothing to see")
        found = phase_cross_correlation(pair.fixed[0].numpy(), pair.moving[0].numpy())[0]
        return AffineTransform.translation(-self.factor * found)


def film(count: int = 12) -> Film:
    """A texture that wanders, one empty frame and one that is not finite."""
    window = np.prod(np.meshgrid(*(np.hanning(s) for s in SHAPE), indexing="ij"), axis=0)
    first = gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), 1.5) * window
    steps = np.random.default_rng(1).integers(-4, 5, (count, 2))
    frames = [torch.from_numpy(shift(first, step, order=0).astype(np.float32))[None] for step in steps]
    frames[4] = 0 * frames[4]
    frames[7] = frames[7] * float("nan")
    return Film(frames)


def run(reference: str | int, method: Phase, *, batched: bool, maps: dict | None = None) -> SequenceMaps:
    batch = method.register_batch if batched else None
    return SequenceRegistration(reference, rounds=2)(film(), method.register, register_batch=batch, maps=maps)


def assert_same(a: SequenceMaps, b: SequenceMaps) -> None:
    grid = SamplingGrid(SHAPE)
    for one, other in zip(a.maps, b.maps, strict=True):
        torch.testing.assert_close(
            one.transform.displacement(grid), other.transform.displacement(grid), rtol=0, atol=1e-9
        )
        assert one.flag == other.flag
        assert one.similarity == pytest.approx(other.similarity, nan_ok=True)
    assert a.convergence == pytest.approx(b.convergence)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("reference", ["first", "mean", 5])
def test_batches_give_the_same(reference: str | int, half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 4)
    alone, together = Phase(half=half), Phase(half=half)
    assert_same(run(reference, alone, batched=False), run(reference, together, batched=True))
    assert together.batches[:3] == [4, 4, 1] and max(together.batches) == 4  # 12 without the reference and two flaws
    assert together.single == alone.single - sum(together.batches)
    assert half or reference != "first" or together.single == 0


def test_finished_maps_are_not_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 4)
    whole: dict[tuple[int, int], FrameMap] = {}
    complete = run("mean", Phase(), batched=True, maps=whole)
    kept = {key: found for key, found in whole.items() if key[0] == 0 or key[1] < 6}
    method = Phase()
    assert_same(run("mean", method, batched=True, maps=dict(kept)), complete)
    assert method.batches == [4, 1] and method.single == 0  # frames 6 to 11 of the second round without a flawed one
    method = Phase()
    run("mean", method, batched=True, maps=dict(whole))
    assert method.batches == []


def test_refused_batch_is_registered_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 4)
    method, alone = Phase(refuses=True), Phase()
    assert_same(run("first", method, batched=True), run("first", alone, batched=False))
    assert method.batches == [4, 4, 1] and method.single == alone.single


def test_progress_counts_every_frame_and_time_is_shared() -> None:
    seen: list[tuple[int, int]] = []
    method = Phase()
    found = SequenceRegistration()(
        film(),
        method.register,
        register_batch=method.register_batch,
        progress=lambda *state: seen.append(state),
    )
    assert seen == [(n + 1, 12) for n in range(12)] and method.batches == [9]
    assert all(each.seconds > 0 for each in found.maps if each.flag == "registered")


def test_wrong_number_of_maps_is_a_defect() -> None:
    with pytest.raises(TypeError, match="register_batch gave 0 maps of 9 pairs; expected one of each"):
        SequenceRegistration()(film(), Phase().register, register_batch=lambda pairs: [])
