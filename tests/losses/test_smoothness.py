"""Smoothness energies against MONAI's, and against polynomials whose energy is known in closed form."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import monai.losses
import numpy as np
import pytest
import torch
from torch import Tensor

from monai_cellreg.losses import BendingEnergyLoss, CurvatureLoss, DiffusionLoss, ElasticLoss, quadratic

SPACING = {2: (0.5, 2.0), 3: (0.5, 2.0, 1.25)}
SHAPES = {2: (7, 5), 3: (5, 7, 6)}


def world_points(shape: Sequence[int], spacing: Sequence[float]) -> np.ndarray:
    """World coordinates (D, *shape) of the voxels of a grid that does not begin at the origin."""
    return np.stack(np.meshgrid(*[h * np.arange(n) - 3.7 for n, h in zip(shape, spacing, strict=True)], indexing="ij"))


def in_voxels(world: np.ndarray, spacing: Sequence[float]) -> Tensor:
    """World displacements (D, *shape) as a voxel field (1, D, *shape)."""
    return torch.tensor(world / np.reshape(spacing, (-1, *[1] * len(spacing))))[None]


def affine_field(matrix: np.ndarray, shape: Sequence[int], spacing: Sequence[float]) -> Tensor:
    return in_voxels(np.einsum("ij,j...->i...", matrix, world_points(shape, spacing)) + 5.1, spacing)


def quadratic_field(hessians: np.ndarray, shape: Sequence[int], spacing: Sequence[float]) -> Tensor:
    """``u_i(x) = x^T H_i x / 2 + x_0`` for symmetric ``H`` (D, D, D)."""
    x = world_points(shape, spacing)
    return in_voxels(0.5 * np.einsum("ijk,j...,k...->i...", hessians, x, x) + x[:1], spacing)


def drawn_hessians(dims: int) -> np.ndarray:
    h = np.random.default_rng(3).normal(size=(dims, dims, dims))
    return h + h.swapaxes(1, 2)


@pytest.mark.parametrize("shape", [(2, 2, 9, 7), (3, 3, 5, 6, 7), (2, 1, 9), (1, 2, 3, 3), (5, 2, 40, 3)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("name", ["BendingEnergyLoss", "DiffusionLoss"])
@pytest.mark.parametrize("block", [20, 1 << 17])
def test_value_and_gradient_of_monai(
    name: str, normalize: bool, reduction: str, shape: tuple[int, ...], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quadratic, "BLOCK", block)
    theirs = getattr(monai.losses, name)(normalize, reduction)
    ours = {"BendingEnergyLoss": BendingEnergyLoss, "DiffusionLoss": DiffusionLoss}[name](normalize, reduction)
    field = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    results = []
    for loss in (theirs, ours):
        given = field.clone().requires_grad_()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MONAI indexes with lists
            value = loss(given)
            (value * torch.arange(1.0, value.numel() + 1).reshape(value.shape)).sum().backward()
        results.append((value.detach(), given.grad))
    (value, gradient), (our_value, our_gradient) = results
    assert our_value.shape == value.shape
    torch.testing.assert_close(our_value, value, rtol=1e-6, atol=1e-6 * float(value.abs().max()))
    torch.testing.assert_close(our_gradient, gradient, rtol=1e-6, atol=1e-6 * float(gradient.abs().max()))


def test_float32_is_as_close_to_monai_over_many_blocks() -> None:
    field = torch.randn(3, 2, 300, 260, generator=torch.Generator().manual_seed(1))
    for theirs, ours in (
        (monai.losses.BendingEnergyLoss(), BendingEnergyLoss()),
        (monai.losses.DiffusionLoss(), DiffusionLoss()),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exact = field.double().requires_grad_()
            expected = theirs(exact)
            expected.backward()
        given = field.clone().requires_grad_()
        value = ours(given)
        value.backward()
        assert abs(value.item() / expected.item() - 1) < 5e-6
        assert (given.grad - exact.grad).abs().max() < 1e-6 * exact.grad.abs().max()


def test_bending_and_curvature_of_quadratic_fields(spatial_dims: int) -> None:
    hessians, spacing = drawn_hessians(spatial_dims), SPACING[spatial_dims]
    for shape in (SHAPES[spatial_dims], (3,) * spatial_dims):
        field = quadratic_field(hessians, shape, spacing)
        bending = (hessians**2).sum((1, 2))
        laplacian = np.einsum("ijj->i", hessians)
        each = BendingEnergyLoss(reduction="none", spacing=spacing)(field)
        assert each.shape == (1, spatial_dims, *(n - 2 for n in shape))
        assert np.abs(each.flatten(2)[0].numpy() - bending[:, None]).max() < 1e-9
        each = CurvatureLoss(reduction="none", spacing=spacing)(field)
        assert np.abs(each.flatten(2)[0].numpy() - laplacian[:, None] ** 2).max() < 1e-9
        assert BendingEnergyLoss(spacing=spacing)(field).item() == pytest.approx(bending.mean(), rel=1e-10)
        assert CurvatureLoss(spacing=spacing)(field).item() == pytest.approx((laplacian**2).mean(), rel=1e-10)


def test_diffusion_and_elasticity_of_quadratic_fields(spatial_dims: int) -> None:
    hessians, spacing, shape = drawn_hessians(spatial_dims), SPACING[spatial_dims], SHAPES[spatial_dims]
    x = world_points(shape, spacing)[(slice(None), *[slice(1, -1)] * spatial_dims)]
    jacobian = np.einsum("ijk,k...->ij...", hessians, x)
    jacobian[:, 0] += 1
    field = quadratic_field(hessians, shape, spacing)
    each = DiffusionLoss(reduction="none", spacing=spacing)(field)[0].numpy()
    assert np.abs(each - (jacobian**2).sum(1)).max() < 1e-9
    strain = (jacobian + jacobian.swapaxes(0, 1)) / 2
    energy = 0.7 * (strain**2).sum((0, 1)) + 1.5 / 2 * np.einsum("ii...->...", strain) ** 2
    each = ElasticLoss(0.7, 1.5, reduction="none", spacing=spacing)(field)
    assert each.shape == (1, 1, *(n - 2 for n in shape))
    assert np.abs(each[0, 0].numpy() - energy).max() < 1e-9
    assert ElasticLoss(0.7, 1.5, spacing=spacing)(field).item() == pytest.approx(energy.mean(), rel=1e-10)
    without = ElasticLoss(2.0, spacing=spacing)(field).item()
    assert without == pytest.approx(2 * (strain**2).sum((0, 1)).mean(), rel=1e-10)


def test_affine_and_harmonic_fields(spatial_dims: int, turned: Any) -> None:
    spacing, shape = SPACING[spatial_dims], SHAPES[spatial_dims]
    affine = affine_field(np.random.default_rng(0).normal(size=(spatial_dims,) * 2), shape, spacing)
    assert BendingEnergyLoss(spacing=spacing)(affine) < 1e-24
    assert CurvatureLoss(spacing=spacing)(affine) < 1e-24
    skew = np.triu(np.ones((spatial_dims,) * 2), 1)
    small_rotation = affine_field(skew - skew.T, shape, spacing)
    assert ElasticLoss(1.0, 1.0, spacing=spacing)(small_rotation) < 1e-24
    assert DiffusionLoss(spacing=spacing)(small_rotation).item() == pytest.approx(spatial_dims - 1)
    saddle = np.zeros((spatial_dims,) * 3)
    saddle[0, 0, 0], saddle[0, 1, 1], saddle[0, 0, 1], saddle[0, 1, 0] = 2, -2, 1, 1
    harmonic = quadratic_field(saddle, shape, spacing)
    assert CurvatureLoss(spacing=spacing)(harmonic) < 1e-24
    assert BendingEnergyLoss(spacing=spacing)(harmonic).item() == pytest.approx(10 / spatial_dims)


def test_energies_do_not_depend_on_the_sampling_or_the_direction(spatial_dims: int, turned: Any) -> None:
    turn = turned(spatial_dims, 0.7)
    hessians = drawn_hessians(spatial_dims)
    turned_hessians = np.einsum("ai,ijk,bj,ck->abc", turn, hessians, turn, turn)
    matrix = np.random.default_rng(5).normal(size=(spatial_dims,) * 2)
    fine = [h / 4 for h in SPACING[spatial_dims]]
    for make, first, second, losses in (
        (quadratic_field, hessians, turned_hessians, (BendingEnergyLoss, CurvatureLoss)),
        (affine_field, matrix, turn @ matrix @ turn.T, (DiffusionLoss, ElasticLoss)),
    ):
        for loss in losses:
            values = [
                loss(spacing=spacing)(make(coefficients, SHAPES[spatial_dims], spacing)).item()
                for coefficients in (first, second)
                for spacing in (SPACING[spatial_dims], fine)
            ]
            assert np.ptp(values) < 1e-8 * values[0]


def test_spacing_by_one_number_and_normalisation_by_the_size(spatial_dims: int) -> None:
    field = torch.randn(2, spatial_dims, *SHAPES[spatial_dims], dtype=torch.float64)
    assert BendingEnergyLoss(spacing=2.0)(field).item() == pytest.approx(BendingEnergyLoss()(field).item() / 4)
    assert DiffusionLoss(spacing=2.0)(field).item() == pytest.approx(DiffusionLoss()(field).item())
    for loss in (BendingEnergyLoss, DiffusionLoss, CurvatureLoss):
        inverse = [1 / n for n in SHAPES[spatial_dims]]
        assert loss(True)(field).item() == pytest.approx(loss(spacing=inverse)(field).item(), rel=1e-12)


def test_neighbours_of_hidden_voxels_do_not_count() -> None:
    weight = torch.ones(1, 1, 6, 7)
    weight[0, 0, 1, 2] = 0
    field = torch.randn(1, 2, 6, 7)
    each = DiffusionLoss(reduction="none")(field, weight)[0, 0]
    assert (each == 0).sum() == 6  # rows 1 and 2 of columns 1 to 3, those of 3 x 3 that are not at the border
    assert (each[:2, :3] == 0).all()


@pytest.mark.parametrize("loss", [BendingEnergyLoss, DiffusionLoss, CurvatureLoss, ElasticLoss])
def test_bad_spacing_is_refused(loss: Any) -> None:
    with pytest.raises(ValueError, match=r"spacing is \(1.0, 0.0\), expected finite numbers above 0"):
        loss(spacing=(1.0, 0.0))
    with pytest.raises(ValueError, match=r"spacing is \(1.0, 2.0\) for 3 axes, expected one number, or one for each"):
        loss(spacing=(1.0, 2.0))(torch.zeros(1, 3, 4, 4, 4))


def test_two_voxels_are_too_few() -> None:
    with pytest.raises(ValueError, match="pred is 2 voxels thick along axis 1 .*, expected at least 3 along"):
        DiffusionLoss()(torch.zeros(1, 2, 5, 2))


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="normalize is True and spacing is 2.0; expected at most one of them"):
        BendingEnergyLoss(True, spacing=2.0)
    with pytest.raises(ValueError, match="mu is 0.0, expected finite numbers above 0"):
        ElasticLoss(0.0)
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"lambda_ is {wrong}; expected a finite number of at least 0"):
            ElasticLoss(1.0, wrong)
