"""Motion in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from monai_cellreg.methods.motion import mean_squared_displacement, pooled_msd, since_first, track_motions


def test_steady_motion_and_rest() -> None:
    """Two structures that rest in something which moves by (3, 4) a frame, one seen in frames 0 to 5, one in 2 to 4."""
    frames = np.array([5, 0, 1, 2, 3, 4, 4, 2, 3])  # in any order
    tracks = np.array(["a"] * 6 + ["b"] * 3)
    rest = np.where((tracks == "a")[:, None], [10.0, 20.0], [7.0, 1.0])
    first, second = track_motions(rest + frames[:, None] * [3.0, 4.0], rest, frames, tracks)
    assert (first.track, second.track, first.frames.tolist(), second.frames.tolist()) == (
        *("a", "b"),
        *([0, 1, 2, 3, 4, 5], [2, 3, 4]),
    )
    np.testing.assert_array_equal(second.points, [rest[6:] * 0 + [7, 1] + [[6, 8], [9, 12], [12, 16]], [[7, 1]] * 3])
    assert first.path_length == pytest.approx((25, 0)) and second.net_displacement == pytest.approx((10, 0))
    lags = np.arange(1, 6)
    np.testing.assert_allclose(first.msd, [25 * lags**2, 0 * lags], atol=1e-9)
    assert first.pairs.tolist() == [5, 4, 3, 2, 1] and second.pairs.tolist() == [2, 1, 0, 0, 0]
    assert np.isnan(second.msd[:, 2:]).all()
    np.testing.assert_allclose(pooled_msd([first, second])[0], 25 * lags**2)


def test_there_and_back_has_a_path_but_no_displacement() -> None:
    points = np.array([[0.0, 0], [0, 2], [0, 5], [0, 2], [0, 0]])
    (motion,) = track_motions(points, points / 2, np.arange(5), np.full(5, "x"))
    assert motion.path_length == pytest.approx((10, 5)) and motion.net_displacement == pytest.approx((0, 0))
    np.testing.assert_allclose(motion.msd[0], [(4 + 9 + 9 + 4) / 4, (25 + 0 + 25) / 3, (4 + 4) / 2, 0])
    np.testing.assert_allclose(motion.msd[1], motion.msd[0] / 4)


def test_random_walk_has_a_straight_msd() -> None:
    """4 D t for steps of variance 2 D along each of two axes."""
    steps = np.random.default_rng(0).normal(0, 0.5, (20000, 2))
    sums, pairs = mean_squared_displacement(np.cumsum(steps[:2000], axis=0), np.arange(2000), 4)
    np.testing.assert_allclose(sums / pairs, 0.5 * np.arange(1, 5), rtol=0.1)
    assert pairs.tolist() == [1999, 1998, 1997, 1996]


def test_points_without_a_track_and_lags() -> None:
    points, frames = np.arange(28.0).reshape(14, 2), np.arange(14)
    tracks = np.array(["", *["t"] * 13])
    moved = since_first(points, frames, tracks)
    assert np.isnan(moved[0]).all() and moved[1].tolist() == [0, 0] and moved[13].tolist() == [24, 24]
    (motion,) = track_motions(points, points, frames, tracks)
    assert motion.msd.shape == (2, 10) and len(motion.frames) == 13
    (single,) = track_motions(points[:1], points[:1], frames[:1], np.array(["s"]))
    assert single.msd.shape == (2, 1) and np.isnan(single.msd).all() and single.path_length == (0, 0)


def test_displacements_begin_with_the_first_frame_whatever_the_order_of_the_table() -> None:
    moved = since_first(np.array([[5.0, 1.0], [2.0, 1.0]]), np.array([3, 1]), np.array(["a", "a"]))
    assert moved.tolist() == [[3, 0], [0, 0]]
