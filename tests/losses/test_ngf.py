"""Normalised gradient fields against NumPy, and their invariances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_cellreg.losses import NormalizedGradientFieldsLoss

SPACING = {2: (0.5, 2.0), 3: (0.5, 2.0, 1.25)}
SHAPES = {2: (9, 12), 3: (6, 7, 5)}


def drawn(dims: int) -> tuple[Tensor, Tensor]:
    """Two images (2, 3, *SHAPES) whose channels differ in contrast."""
    generator = torch.Generator().manual_seed(0)
    pred, target = torch.rand(2, 2, 3, *SHAPES[dims], dtype=torch.float64, generator=generator)
    pred[1, 2] *= 20
    return pred, target


def by_numpy(
    pred: Tensor, target: Tensor, spacing: tuple[float, ...], epsilon: float | None, noise: float
) -> np.ndarray:
    result = np.empty(pred.shape)
    for b, c in np.ndindex(*pred.shape[:2]):
        fields = []
        for image in (pred, target):
            gradient = np.stack(np.gradient(image[b, c].numpy(), *spacing))
            edge = noise * np.linalg.norm(gradient, axis=0).mean() if epsilon is None else epsilon
            fields.append(gradient / np.sqrt((gradient**2).sum(0) + edge**2))
        result[b, c] = 1 - (fields[0] * fields[1]).sum(0) ** 2
    return result


@pytest.mark.parametrize(("epsilon", "noise"), [(None, 1.0), (None, 0.3), (0.2, 1.0)])
def test_numpy(spatial_dims: int, epsilon: float | None, noise: float) -> None:
    pred, target = drawn(spatial_dims)
    spacing = SPACING[spatial_dims]
    expected = by_numpy(pred, target, spacing, epsilon, noise)
    each = NormalizedGradientFieldsLoss(epsilon, noise, spacing=spacing, reduction="none")(pred, target)
    assert np.abs(each.numpy() - expected).max() < 1e-12
    loss = NormalizedGradientFieldsLoss(epsilon, noise, spacing=spacing)
    assert loss(pred, target).item() == pytest.approx(expected.mean(), rel=1e-12)


@pytest.mark.parametrize("factor", [3.0, -1.0, -1e4, 1e-5])
def test_sign_and_scale_do_not_matter(spatial_dims: int, factor: float) -> None:
    pred, target = drawn(spatial_dims)
    loss = NormalizedGradientFieldsLoss()
    expected = loss(pred, target)
    torch.testing.assert_close(loss(factor * pred + 7, target), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(loss(pred, factor * target), expected, rtol=1e-6, atol=0)
    single = loss((factor * pred).float(), (target / factor).float())
    torch.testing.assert_close(single.double(), expected, rtol=1e-5, atol=0)
    large = loss(*((1e10 * image).float() for image in (pred, target)))  # whose fourth powers float32 does not hold
    torch.testing.assert_close(large.double(), expected, rtol=1e-5, atol=0)
    fixed = NormalizedGradientFieldsLoss(0.3)
    torch.testing.assert_close(fixed(-pred, target), fixed(pred, target), rtol=1e-9, atol=0)
    assert abs(fixed(2 * pred, target) - fixed(pred, target)) > 1e-3


def test_parallel_edges_cost_nothing_and_crossing_ones_one() -> None:
    row, column = torch.meshgrid(torch.arange(9.0), torch.arange(7.0), indexing="ij")
    loss = NormalizedGradientFieldsLoss(1e-3)
    slope = (row + 2 * column)[None, None]
    assert loss(slope, -5 * slope) < 1e-5
    assert loss(slope, (2 * row - column)[None, None]).item() == pytest.approx(1, abs=1e-6)
    assert loss((row - column)[None, None], row[None, None]).item() == pytest.approx(0.5, abs=1e-5)
    # In world units the same two edges meet at another angle: (1, -1 / 2) against (1, 0).
    wide = NormalizedGradientFieldsLoss(1e-3, spacing=(1.0, 2.0))
    assert wide((row - column)[None, None], row[None, None]).item() == pytest.approx(0.2, abs=1e-5)


def test_flat_images_cost_one_and_have_no_gradient() -> None:
    flat = torch.full((1, 1, 6, 7), 0.3, requires_grad=True)
    for target in (torch.full((1, 1, 6, 7), 0.3), torch.rand(1, 1, 6, 7)):
        loss = NormalizedGradientFieldsLoss()(flat, target)
        assert loss == 1
        assert torch.autograd.grad(loss, flat)[0].abs().max() == 0


def test_spacing_in_another_unit_changes_nothing(spatial_dims: int) -> None:
    pred, target = drawn(spatial_dims)
    values = [
        NormalizedGradientFieldsLoss(spacing=[unit * h for h in SPACING[spatial_dims]])(pred, target)
        for unit in (1.0, 1000.0)
    ]
    torch.testing.assert_close(values[0], values[1], rtol=1e-9, atol=0)
    assert abs(NormalizedGradientFieldsLoss()(pred, target) - values[0]) > 1e-3


def test_bad_settings_are_refused() -> None:
    for name, value in (("epsilon", 0.0), ("noise", -1.0), ("spacing", (1.0, 0.0))):
        with pytest.raises(ValueError, match=f"{name} is .*, expected finite numbers above 0"):
            NormalizedGradientFieldsLoss(**{name: value})
    with pytest.raises(ValueError, match=r"spacing is \(1.0, 2.0, 3.0\) for 2 axes, expected one number"):
        NormalizedGradientFieldsLoss(spacing=(1.0, 2.0, 3.0))(torch.rand(1, 1, 4, 5), torch.rand(1, 1, 4, 5))
