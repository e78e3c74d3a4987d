"""Maps over time against SciPy's Gaussian, and what a line through time keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from monai_cellreg.geometry import AffineTransform, DenseTransform, Pair, SamplingGrid, SpatialTransform
from monai_cellreg.inferers import FrameMap, SequenceRegistration
from monai_cellreg.inferers.temporal import SmoothedMaps, temporal_weights

GRID = SamplingGrid((5, 7), np.array([[0.0, 2.0, 30.0], [-0.5, 0.0, -12.0], [0.0, 0.0, 1.0]]))
COUNT = 21


def shifts(maps: Sequence[FrameMap]) -> np.ndarray:
    """Displacements (T, 2, *shape)."""
    return np.stack([each.transform.displacement(GRID)[0].numpy() for each in maps])


def dense(fields: np.ndarray, flags: Sequence[str] = ()) -> list[FrameMap]:
    named = flags or ["registered"] * len(fields)
    maps = [DenseTransform(torch.from_numpy(field)[None], GRID) for field in fields]
    return [FrameMap(each, flag, similarity=0.5) for each, flag in zip(maps, named, strict=True)]


def noise(count: int = COUNT) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 2, *GRID.shape)).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.6, 1.5])
def test_interior_is_that_of_scipy(sigma: float) -> None:
    fields = noise()
    radius = int(4 * sigma + 0.5)
    inner = slice(radius, COUNT - radius)
    expected = gaussian_filter1d(fields.astype(np.float64), sigma, axis=0)[inner]
    found = shifts(SmoothedMaps(dense(fields), sigma, GRID, None))[inner]
    assert len(found) > 5
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_weights_are_those_of_a_weighted_line_everywhere() -> None:
    """The value at t of the line that NumPy fits with square roots of Gaussian weights."""
    rng = np.random.default_rng(3)
    trusted = [True, True, False, False, True, True, True, False, True, True]
    values, sigma = rng.normal(size=len(trusted)), 1.2
    for t in (0, 1, 2, 3, 5, 7, 9):
        window = [k for k in range(len(trusted)) if trusted[k] and abs(k - t) <= 5]
        root = np.exp(-((np.array(window) - t) ** 2) / (4 * sigma**2))
        expected = np.polyval(np.polyfit(np.array(window) - t, values[window], 1, w=root), 0)
        weights = temporal_weights(trusted, t, sigma)
        assert sum(weights[k] * values[k] for k in weights) == pytest.approx(expected, abs=1e-9)
        assert not any(k in weights for k in (2, 3, 7))


def test_steady_motion_is_kept_at_the_ends_and_over_an_empty_frame() -> None:
    fields = np.arange(9.0)[:, None, None, None] * np.ones((1, 2, *GRID.shape))
    flags = ["registered"] * 9
    flags[3] = "constant"
    maps = dense(np.where(np.arange(9)[:, None, None, None] == 3, 50.0, fields), flags)
    found = SmoothedMaps(maps, 1.5, GRID, None)
    np.testing.assert_allclose(shifts(found), fields, rtol=0, atol=1e-5)
    assert [each.flag for each in found] == flags and found[-1].similarity == 0.5


def test_motion_is_not_continued_beyond_the_last_trusted_frame() -> None:
    fields = np.arange(8.0)[:, None, None, None] * np.ones((1, 2, *GRID.shape))
    flags = ["registered"] * 5 + ["failed"] * 3
    found = shifts(SmoothedMaps(dense(fields, flags), 1.0, GRID, None))
    assert found[5:].max() < 4 + 1e-6 and found[7].min() > 3
    lonely = temporal_weights([True] + [False] * 9, 9, 1.0)
    assert lonely == {}
    maps = dense(noise(10), ["registered"] + ["failed"] * 9)
    assert SmoothedMaps(maps, 1.0, GRID, None)[9].transform is maps[9].transform


def test_affine_maps_stay_affine_and_mixed_ones_are_their_displacements() -> None:
    turns = [AffineTransform.rigid(0.1 * k, shift=[0.3 * k, -k]) for k in (0, 3, 1, 2, 5)]
    maps = [FrameMap(each, "registered") for each in turns]
    found = SmoothedMaps(maps, 0.7, GRID, None)
    matrices = np.stack([each.matrix[0].numpy() for each in turns])
    weights = np.exp(-(np.array([-2.0, -1, 0, 1, 2]) ** 2) / (2 * 0.49))
    middle = found[2].transform
    assert isinstance(middle, AffineTransform)
    expected = np.tensordot(weights / weights.sum(), matrices, axes=1)
    np.testing.assert_allclose(middle.matrix[0].numpy(), expected, rtol=0, atol=1e-12)
    maps[1] = FrameMap(DenseTransform(turns[1].displacement(GRID), GRID), "registered")
    mixed = SmoothedMaps(maps, 0.7, GRID, None)[2].transform
    assert isinstance(mixed, DenseTransform)
    np.testing.assert_allclose(mixed.displacement(GRID), middle.displacement(GRID), rtol=0, atol=1e-5)


def test_reference_stays_the_identity_and_no_more_maps_are_kept_than_needed() -> None:
    reads: list[int] = []

    class Counted(list[FrameMap]):
        def __getitem__(self, k: int) -> FrameMap:  # type: ignore[override]
            reads.append(k)
            return super().__getitem__(k)

    fields = noise()
    fields[4] = 0
    maps = Counted(dense(fields))
    found = SmoothedMaps(maps, 0.5, GRID, 4)
    assert np.abs(shifts(found)[4]).max() == 0 < np.abs(shifts(found)[3]).max()
    reads.clear()
    kept = []
    for t in range(COUNT):
        found[t]
        kept.append(len(found.parts))
    assert max(kept) <= 5 and len(reads) <= 2 * COUNT + 1


@pytest.mark.parametrize("reference", ["first", "previous", "mean"])
def test_registration_with_smoothing_takes_out_jitter(reference: str) -> None:
    """A method that errs on its own in every frame, on a film that stands still but for an empty frame."""
    rng = np.random.default_rng(1)
    image = rng.normal(size=(24, 30)).astype(np.float32)
    grid = SamplingGrid((24, 30))

    class Film(list[torch.Tensor]):
        frame = list.__getitem__

    def jittering(pair: Pair) -> SpatialTransform:
        return AffineTransform.translation(rng.normal(0, 0.3, 2))

    noisy = [image + 0.8 * rng.normal(size=image.shape) for _ in range(20)]  # so that no map is rejected outright
    film = Film([torch.from_numpy(frame.astype(np.float32))[None] for frame in noisy])
    film[7] = 0 * film[7]
    maps = [AffineTransform.translation(rng.normal(0, 0.3, 2)) for _ in range(20)]
    kept = {
        (turn, t): FrameMap(each, "constant" if t == 7 else "reference" if t == 0 else "registered", 0.5)
        for turn in range(3)
        for t, each in enumerate(maps)
    }
    found = [
        SequenceRegistration(reference, smoothing=sigma, rounds=1)(film, jittering, maps=dict(kept)) for sigma in (0, 2)
    ]
    spread = [np.std(np.diff([float(m.transform.displacement(grid)[0, 0, 0, 0]) for m in f.maps][1:])) for f in found]
    assert spread[1] < 0.3 * spread[0]
    if reference == "mean":
        total = sum(m.transform.displacement(grid) for k, m in enumerate(found[1].maps) if k != 7)
        assert float(total.abs().max()) < 1e-6
    assert [m.flag for m in found[0].maps] == [m.flag for m in found[1].maps]


def test_negative_smoothing_is_refused() -> None:
    with pytest.raises(ValueError, match="smoothing is -1, expected finite numbers of at least 0"):
        SequenceRegistration(smoothing=-1)
