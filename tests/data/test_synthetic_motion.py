import numpy as np
import pytest

from monai_cellreg.data.synthetic_motion import Motion, smooth_paths


def test_backward_inverts_forward_and_turns_rows_towards_columns():
    still = np.zeros((2, 1, 2))
    quarter = Motion(
        np.array([10.0, 20.0]), np.array([0, np.pi / 2]), np.zeros((2, 2)), np.ones((1, 2)), np.ones(1), still
    )
    points = np.array([[13.0, 10.0], [20.0, 24.0]])  # (2, N): one point below the centre, one right of it
    np.testing.assert_allclose(quarter.forward(points, 1), [[10, 6], [23, 20]], atol=1e-12)
    waves = np.array([[[0.0, 0.0]], [[2.0, -3.0]]])
    bent = Motion(
        np.array([10.0, 20.0]),
        np.array([0, 0.2]),
        np.array([[0, 0], [3.0, -5.0]]),
        np.array([[0.1, 0.05]]),
        np.ones(1),
        waves,
    )
    np.testing.assert_allclose(bent.backward(bent.forward(points, 1), 1), points, atol=2e-3)
    assert bent.steepness(200) == pytest.approx(np.hypot(2, 3) * np.hypot(0.1, 0.05), rel=0.01)


def test_paths_start_at_rest_and_stay_within_one():
    paths = smooth_paths(np.random.default_rng(0), 9, 200)
    assert not paths[0].any()
    assert np.abs(paths).max() <= 1
    assert np.abs(paths[-1]).min() > 0.2
