"""Equation 2 in units of the cube, where the image size does not count; landmarks against SciPy, one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from monai_cellreg.losses import LandmarkDistanceLoss, TransformationLoss


@pytest.mark.parametrize("size", [(5, 9), (33, 65), (64, 48), (5, 7, 9), (16, 8, 12)])
def test_constant_error_on_the_cube_costs_its_square_at_every_size(size: tuple[int, ...]) -> None:
    on_cube = np.array([0.1, -0.2, 0.05])[: len(size)]
    in_voxels = torch.tensor(on_cube * (np.array(size) - 1) / 2).float()
    truth = torch.randn(2, len(size), *size)
    predicted = truth + in_voxels.reshape(1, -1, *([1] * len(size)))
    assert TransformationLoss()(predicted, truth).item() == pytest.approx(np.sum(on_cube**2), rel=1e-4)


def test_mean_over_points_of_the_squared_distance() -> None:
    rng = np.random.default_rng(0)
    predicted, truth = rng.normal(size=(2, 3, 2, 6, 11))
    distance = (predicted - truth) * np.array([2 / 5, 2 / 10])[:, None, None]
    expected = np.mean(np.linalg.norm(distance, axis=1) ** 2)
    value = TransformationLoss()(torch.from_numpy(predicted), torch.from_numpy(truth))
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_one_wrong_point_is_shared_by_all() -> None:
    truth = torch.zeros(1, 2, 3, 5)
    predicted = truth.clone()
    predicted[0, 1, 2, 4] = 1  # a column of 5 is half a unit of the cube wide
    assert TransformationLoss()(predicted, truth).item() == pytest.approx(0.25 / 15)


def test_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    fields = [torch.randn(2, 2, 3, 4, dtype=torch.float64, generator=generator, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(TransformationLoss(), fields)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_weighted_points(reduction: str) -> None:
    rng = np.random.default_rng(0)
    predicted, true, weight = (
        rng.normal(size=(2, 2, 5, 9)),
        rng.normal(size=(2, 2, 5, 9)),
        rng.uniform(size=(2, 1, 5, 9)),
    )
    weight[1, :, :, 4:] = 0
    squares = np.sum(((predicted - true) * np.array([2 / 4, 2 / 8])[:, None, None]) ** 2, axis=1, keepdims=True)
    weighted = squares * weight
    means = weighted.sum(axis=(1, 2, 3)) / weight.sum(axis=(1, 2, 3))
    expected = {"mean": means.mean(), "sum": weighted.sum(), "none": weighted}[reduction]
    given = [torch.from_numpy(array) for array in (predicted, true, weight)]
    np.testing.assert_allclose(TransformationLoss(reduction)(*given), expected, rtol=1e-12)
    unweighted = {"mean": squares.mean(), "sum": squares.sum(), "none": squares}[reduction]
    np.testing.assert_allclose(TransformationLoss(reduction)(*given[:2]), unweighted, rtol=1e-12)
    hidden = given[0].masked_fill(given[2] == 0, torch.nan)
    np.testing.assert_allclose(TransformationLoss(reduction)(hidden, *given[1:]), expected, rtol=1e-12)


def test_bad_fields_are_refused() -> None:
    field = torch.zeros(1, 2, 4, 5)
    with pytest.raises(ValueError, match="^target has shape 2x2x4x5 but pred has shape 1x2x4x5, expected the same"):
        TransformationLoss()(field, torch.zeros(2, 2, 4, 5))
    for name, given in (("pred", (field / 0, field)), ("target", (field, field / 0))):
        with pytest.raises(ValueError, match=f"^{name} holds 40 of 40 values that are NaN"):
            TransformationLoss()(*given)
    with pytest.raises(ValueError, match="^weight has a .*value of -1.*, expected"):
        TransformationLoss()(field, field, -torch.ones(1, 1, 4, 5))


SIZE = {2: (7, 11), 3: (5, 6, 8)}
SPACING = {2: (0.5, 3.0), 3: (2.0, 0.7, 1.3)}


def landmarks(dims: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A field, landmarks of three pairs and their weight: some landmarks lie outside, some are missing on a side."""
    generator = torch.Generator().manual_seed(dims)
    field = torch.randn(3, dims, *SIZE[dims], generator=generator, dtype=dtype)
    room = torch.tensor(SIZE[dims], dtype=dtype) + 2
    fixed, moving = torch.rand(2, 3, 6, dims, generator=generator, dtype=dtype) * room - 1.5
    weight = torch.rand(3, 6, generator=generator, dtype=dtype)
    fixed[0, 2, 1] = moving[0, 3] = moving[1, 1:, 0] = torch.nan
    return field, fixed, moving, weight


def distances(field: Tensor, fixed: Tensor, moving: Tensor, spacing: tuple[float, ...]) -> np.ndarray:
    """Distance (B, N) of each mapped landmark to the moving one; NaN where one is missing."""
    out = np.full(fixed.shape[:2], np.nan)
    for b, n in np.ndindex(out.shape):
        p, q = fixed[b, n].double().numpy(), moving[b, n].double().numpy()
        if not np.isnan([p, q]).any():
            components = field[b].double().numpy()
            u = [map_coordinates(component, p[:, None], order=1, mode="nearest")[0] for component in components]
            out[b, n] = np.linalg.norm((p + u - q) * spacing)
    return out


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_squared_distance_of_known_landmarks(spatial_dims: int, reduction: str, weighted: bool) -> None:
    field, fixed, moving, weight = landmarks(spatial_dims)
    values = distances(field, fixed, moving, (1.0,) * spatial_dims) ** 2
    share = weight.numpy() if weighted else np.ones((3, 6))
    means = [np.average(v[~np.isnan(v)], weights=w[~np.isnan(v)]) for v, w in zip(values, share, strict=True)]
    costs = np.nan_to_num(values) * share
    expected = {"mean": np.mean(means), "sum": costs.sum(), "none": costs}[reduction]
    value = LandmarkDistanceLoss(reduction)(field, fixed, moving, weight if weighted else None)
    np.testing.assert_allclose(value, expected, rtol=1e-10)


@pytest.mark.parametrize("delta", [None, 2.5])
def test_unit_of_the_spacing_and_huber(spatial_dims: int, delta: float | None) -> None:
    field, fixed, moving, _ = landmarks(spatial_dims)
    values = distances(field, fixed, moving, SPACING[spatial_dims])
    known = values[~np.isnan(values)]
    assert known.min() < 2.5 < known.max()
    expected = values**2
    if delta is not None:
        expected = np.where(values < delta, values**2 / 2, delta * (values - delta / 2))
    loss = LandmarkDistanceLoss("none", spacing=SPACING[spatial_dims], huber_delta=delta)
    np.testing.assert_allclose(loss(field, fixed, moving), np.nan_to_num(expected), rtol=1e-10)


def test_right_direction_costs_nothing() -> None:
    field = torch.tensor([3.0, -2.0]).reshape(1, 2, 1, 1).expand(1, 2, 7, 11)
    fixed = torch.tensor([[[1.0, 8.5], [2.25, 4.0]]])
    moving = fixed + torch.tensor([3.0, -2.0])
    assert LandmarkDistanceLoss()(field, fixed, moving).item() == 0
    assert LandmarkDistanceLoss()(field, moving, fixed).item() == pytest.approx(4 * 13)


@pytest.mark.parametrize("delta", [None, 2.5])
def test_gradient_of_the_field_and_none_of_missing_landmarks(spatial_dims: int, delta: float | None) -> None:
    field, fixed, moving, weight = landmarks(spatial_dims)
    loss = LandmarkDistanceLoss(spacing=SPACING[spatial_dims], huber_delta=delta)
    inputs = field.requires_grad_(), weight.requires_grad_()
    assert torch.autograd.gradcheck(lambda u, w: loss(u, fixed, moving, w), inputs, fast_mode=True)
    exact = torch.zeros(1, 2, 4, 5, requires_grad=True)
    met = torch.tensor([[[1.0, 2.0], [torch.nan, torch.nan]]])
    LandmarkDistanceLoss(huber_delta=delta)(exact, met, met).backward()
    assert torch.equal(exact.grad, torch.zeros_like(exact))  # nor NaN, as of a square root at 0


def test_batch_is_the_mean_of_its_pairs_and_a_pair_without_landmarks_costs_nothing() -> None:
    field, fixed, moving, weight = landmarks(2)
    moving[2] = torch.nan
    loss = LandmarkDistanceLoss()
    single = [loss(*(part[k : k + 1] for part in (field, fixed, moving, weight))).item() for k in range(3)]
    assert single[2] == 0 < min(single[:2])
    assert loss(field, fixed, moving, weight).item() == pytest.approx(np.mean(single), rel=1e-12)
    assert loss(field, fixed[:, :0], moving[:, :0]).item() == 0


def test_coordinates_keep_their_precision_under_autocast() -> None:
    field, fixed, moving, weight = landmarks(2, torch.float32)
    exact = LandmarkDistanceLoss()(field, fixed, moving, weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert LandmarkDistanceLoss()(field, fixed, moving, weight) == exact
    far = fixed + 1000.3, moving + 1000.3
    value = LandmarkDistanceLoss()(field.bfloat16(), *far, weight)
    assert value.item() == pytest.approx(LandmarkDistanceLoss()(field.bfloat16().float(), *far, weight).item())


def test_bad_landmarks_are_refused() -> None:
    field, fixed, moving, weight = landmarks(2)
    loss = LandmarkDistanceLoss()
    with pytest.raises(ValueError, match="^moving_landmarks has shape 3x5x2 but fixed_landmarks has shape 3x6x2"):
        loss(field, fixed, moving[:, :5])
    with pytest.raises(ValueError, match="^displacement_vox has shape 2x2x7x11, the landmarks 3x6x2; expected"):
        loss(field[:2], fixed, moving)
    with pytest.raises(ValueError, match="^displacement_vox has shape 3x2x7x11, the landmarks 3x6x3; expected"):
        loss(field, torch.zeros(3, 6, 3), torch.zeros(3, 6, 3))
    with pytest.raises(ValueError, match="^displacement_vox holds 462 of 462 values that are NaN"):
        loss(field * torch.nan, fixed, moving)
    with pytest.raises(ValueError, match="^moving_landmarks holds infinite values"):
        loss(field, fixed, moving / 0)
    with pytest.raises(ValueError, match="^weight has shape 3x5 but .* has shape 3x6"):
        loss(field, fixed, moving, weight[:, :5])
    with pytest.raises(ValueError, match="^weight has a value of -1, expected none below 0"):
        loss(field, fixed, moving, torch.full((3, 6), -1.0))
    with pytest.raises(ValueError, match="^huber_delta is 0, expected finite numbers above 0"):
        LandmarkDistanceLoss(huber_delta=0)
