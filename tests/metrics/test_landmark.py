"""Errors of grids and landmarks against distances written out in NumPy, ranks against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from torch import Tensor

from monai_cellreg.metrics import (
    GridError,
    LandmarkRobustness,
    TargetRegistrationError,
    average_rank,
    image_diagonal,
    landmark_errors,
)


def fields(seed: int, batch: int = 3, size: tuple[int, ...] = (5, 8)) -> Tensor:
    return torch.randn(batch, len(size), *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(5, 8), (3, 4, 6)])
def test_mean_distance_in_voxels(size: tuple[int, ...]) -> None:
    predicted, truth = fields(0, size=size), fields(1, size=size)
    distance = np.sqrt(((predicted - truth).numpy() ** 2).sum(axis=1))
    expected = distance.reshape(3, -1).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(GridError()(predicted, truth).numpy(), expected, rtol=1e-5)


def test_constant_error_is_its_length() -> None:
    truth = fields(0)
    assert GridError()(truth + torch.tensor([3.0, -4.0]).reshape(1, 2, 1, 1), truth).tolist() == pytest.approx(
        np.full((3, 1), 5.0), rel=1e-5
    )


def test_mean_over_all_pairs_of_all_batches_until_reset() -> None:
    metric = GridError()
    values = np.concatenate([metric(fields(k, k), fields(k + 10, k)).numpy() for k in (1, 4)])
    assert len(values) == 5
    assert metric.aggregate().item() == pytest.approx(values.mean(), rel=1e-6)
    metric.reset()
    metric(fields(1, 1), fields(11, 1))
    assert metric.aggregate().item() == pytest.approx(values[0, 0])


@pytest.mark.parametrize("spacing", [(0.5, 3.0), (2.0, 0.7, 5.0)])
def test_grid_error_in_the_unit_of_the_spacing(spacing: tuple[float, ...]) -> None:
    predicted, truth = (fields(k, size=(5, 8, 6)[: len(spacing)]) for k in (0, 1))
    total = [0.0] * 3
    for b, *where in np.ndindex(3, *predicted.shape[2:]):
        error = (predicted - truth)[(b, slice(None), *where)].double().numpy() * spacing
        total[b] += np.sqrt(np.sum(error**2)) / predicted[0, 0].numel()
    np.testing.assert_allclose(GridError(spacing=spacing)(predicted, truth)[:, 0].numpy(), total, rtol=1e-5)


def test_fields_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="^y_pred has shape 3x2x5x8 but y has shape 3x2x8x5, expected the same"):
        GridError()(fields(0), fields(0, size=(8, 5)))
    with pytest.raises(ValueError, match=r"^y is None, expected the true field .* \(3x2x5x8\) belongs to"):
        GridError()(fields(0))


def test_bad_fields_and_spacings_are_refused() -> None:
    lost = fields(0)
    lost[1, 0, 2, 3] = torch.nan
    with pytest.raises(ValueError, match=r"^y_pred holds 1 of 240 values that are NaN .* index \(1, 0, 2, 3\)"):
        GridError()(lost, fields(1))
    with pytest.raises(ValueError, match="^y holds 1 of 240 values"):
        GridError()(fields(1), lost)
    with pytest.raises(ValueError, match="^y has shape 3x3x5x8, expected a voxel field"):
        GridError()(torch.zeros(3, 3, 5, 8), torch.zeros(3, 3, 5, 8))
    with pytest.raises(ValueError, match=r"^spacing is \(1, 2, 3\) for 2 axes, expected one number"):
        GridError(spacing=(1, 2, 3))(fields(0), fields(1))
    with pytest.raises(ValueError, match="^spacing is .*expected finite numbers above 0"):
        GridError(spacing=(1, 0))


def landmarks(seed: int = 0, dims: int = 2, count: int = 9) -> tuple[Tensor, Tensor]:
    """Mapped and moving landmarks of three pairs, far from the origin; the second lacks some, the third all but one."""
    generator = torch.Generator().manual_seed(seed)
    moving = 5000 + 100 * torch.rand(3, count, dims, generator=generator)
    mapped = moving + torch.randn(3, count, dims, generator=generator) * torch.tensor([4.0, 1.0, 9.0])[:dims]
    for rows in ((1, slice(2, 5)), (2, slice(1, None))):
        moving[rows] = torch.nan
    mapped[1, 3], moving[1, 3, -1] = torch.nan, 5000  # one coordinate is not enough to be known
    return mapped, moving


def known_errors(mapped: Tensor, moving: Tensor) -> list[np.ndarray]:
    """Distances of each pair where both landmarks are known, in a loop."""
    pairs = zip(mapped.double().numpy(), moving.double().numpy(), strict=True)
    return [
        np.array([np.sqrt(((a - b) ** 2).sum()) for a, b in zip(*points, strict=True) if not np.isnan(b).any()])
        for points in pairs
    ]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("relative", [False, True])
def test_landmark_errors_of_each_pair(dims: int, relative: bool) -> None:
    mapped, moving = landmarks(dims=dims)
    diagonal = torch.tensor([100.0, 250.0, 40.0]) if relative else None
    rows = TargetRegistrationError()(mapped, moving, diagonal=diagonal)
    errors = known_errors(mapped, moving)
    assert [len(e) for e in errors] == [9, 6, 1]
    for k, (row, error) in enumerate(zip(rows, errors, strict=True)):
        error = error / (float(diagonal[k]) if relative else 1)
        np.testing.assert_allclose(row, [np.median(error), error.mean(), error.max()], rtol=1e-6)


def test_number_as_diagonal_is_that_of_every_pair() -> None:
    mapped, moving = landmarks()
    errors = landmark_errors(mapped, moving)
    torch.testing.assert_close(landmark_errors(mapped, moving, diagonal=8.0), errors / 8, equal_nan=True)


def test_statistics_of_pairs_and_the_one_that_is_followed() -> None:
    mapped, moving = landmarks(count=8)
    pairs = {
        "median": [np.median(e) for e in known_errors(mapped, moving)],
        "mean": [np.mean(e) for e in known_errors(mapped, moving)],
        "max": [np.max(e) for e in known_errors(mapped, moving)],
    }
    for of_pair, values in pairs.items():
        for over_pairs, reduced in (("mean", np.mean(values)), ("median", np.median(values)), ("max", np.max(values))):
            metric = TargetRegistrationError(of_pair=of_pair, over_pairs=over_pairs)
            for k in range(3):
                metric(mapped[k : k + 1], moving[k : k + 1])
            assert metric.aggregate().item() == pytest.approx(reduced, rel=1e-6)
            assert metric.statistics()[f"{over_pairs}_{of_pair}"] == pytest.approx(reduced, rel=1e-6)
            assert len(metric.statistics()) == 9
    default = TargetRegistrationError()
    default(mapped, moving)
    assert default.aggregate().item() == pytest.approx(np.mean(pairs["median"]), rel=1e-6)


def test_pair_without_landmarks_is_nan_and_left_out() -> None:
    mapped, moving = landmarks()
    moving[0] = torch.nan
    metric = TargetRegistrationError()
    assert metric(mapped, moving)[0].isnan().all()
    expected = np.mean([np.median(e) for e in known_errors(mapped, moving)[1:]])
    assert metric.aggregate().item() == pytest.approx(expected, rel=1e-6)
    alone = TargetRegistrationError()
    alone(mapped[:1], moving[:1])
    assert alone.aggregate().isnan()


def test_pairs_of_different_numbers_of_landmarks_as_a_list() -> None:
    mapped, moving = landmarks()
    rows = TargetRegistrationError()([mapped[0], mapped[1, :2]], [moving[0], moving[1, :2]])
    expected = [[np.median(e), e.mean(), e.max()] for e in known_errors(mapped[:, :2], moving[:, :2])[1:2]]
    np.testing.assert_allclose(rows[1:], expected, rtol=1e-6)


def test_failed_registration_does_not_pass_for_a_missing_landmark() -> None:
    mapped, moving = landmarks()
    mapped[0, 4, 1] = torch.nan
    with pytest.raises(ValueError, match="^1 of 16 mapped landmarks are NaN though the moving one is known"):
        TargetRegistrationError()(mapped, moving)
    mapped[0, 4, 1] = torch.inf
    assert TargetRegistrationError()(mapped, moving)[0, 2] == torch.inf


def test_bad_landmarks_are_refused() -> None:
    mapped, moving = landmarks()
    with pytest.raises(ValueError, match="^y_pred has shape 3x9x2 but y has shape 3x8x2, expected the same"):
        landmark_errors(mapped, moving[:, :8])
    with pytest.raises(ValueError, match=r"^landmarks have shape 9x2, expected \(B, N, D\); add the batch axis"):
        landmark_errors(mapped[0], moving[0])
    with pytest.raises(ValueError, match="^y is None, expected the moving landmarks"):
        TargetRegistrationError()(mapped)
    with pytest.raises(ValueError, match="^diagonal is .* expected finite numbers above 0"):
        landmark_errors(mapped, moving, diagonal=torch.tensor([1.0, 0.0, 1.0]))
    with pytest.raises(ValueError, match="^diagonal holds 2 numbers for 3 pairs"):
        landmark_errors(mapped, moving, diagonal=torch.ones(2))


def test_share_of_landmarks_brought_closer() -> None:
    mapped, moving = landmarks()
    before = moving + torch.tensor([3.0, 3.0])
    before[0, :2] = mapped[0, :2]  # as far as before: not closer
    after, unregistered = landmark_errors(mapped, moving), landmark_errors(before, moving)
    pairs = zip(known_errors(mapped, moving), known_errors(before, moving), strict=True)
    expected = [float(np.mean([a < b for a, b in zip(*pair, strict=True)])) for pair in pairs]
    assert 0 < expected[0] < 7 / 9
    metric = LandmarkRobustness()
    np.testing.assert_allclose(metric(after, unregistered)[:, 0], expected, rtol=1e-12)
    assert metric.aggregate().item() == pytest.approx(np.mean(expected))
    with pytest.raises(ValueError, match=r"^y_pred lacks 0 errors and y 11 \(NaN\), not of the same landmarks"):
        LandmarkRobustness()(after.nan_to_num(), unregistered)


def test_average_rank_is_that_of_scipy() -> None:
    errors = np.random.default_rng(0).integers(0, 4, size=(5, 12)).astype(float)
    errors[3, 2], errors[1, 2], errors[4, 5] = np.nan, np.inf, np.nan
    expected = rankdata(np.nan_to_num(errors, nan=np.inf, posinf=np.inf), axis=0).mean(axis=1)
    np.testing.assert_allclose(average_rank(torch.from_numpy(errors)), expected, rtol=1e-12)
    with pytest.raises(ValueError, match=r"^errors has shape 5x0, expected \(methods, pairs\)"):
        average_rank(torch.zeros(5, 0))


def test_diagonal_of_the_voxels_edges_in_the_unit_of_the_spacing() -> None:
    assert image_diagonal((3, 4)) == pytest.approx(5)
    assert image_diagonal((6, 2, 9), (0.5, 2.0, 4 / 3)) == pytest.approx(13)
    with pytest.raises(ValueError, match=r"^spacing is \(1.0, 1.0, 1.0\) for 2 axes, expected one number"):
        image_diagonal((3, 4), (1.0, 1.0, 1.0))


def test_robustness_refuses_landmarks_in_place_of_errors() -> None:
    with pytest.raises(
        ValueError, match=r"y_pred has shape 2x9x2, expected errors \(B, N\); landmark_errors gives them"
    ):
        LandmarkRobustness()(torch.rand(2, 9, 2), torch.rand(2, 9, 2))
