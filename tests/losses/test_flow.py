"""The endpoint error of several predictions against NumPy, in units of the cube, finest first in weight."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_cellreg.losses import MultiScaleFlowLoss

SIZES = {2: (5, 9), 3: (4, 3, 6)}


def fields(dims: int, predictions: int = 3) -> tuple[Tensor, Tensor]:
    """Predictions (2, N, D, *spatial) and the truth, float64."""
    generator = torch.Generator().manual_seed(dims)
    pred = torch.randn(2, predictions, dims, *SIZES[dims], generator=generator, dtype=torch.float64)
    return pred, torch.randn(2, dims, *SIZES[dims], generator=generator, dtype=torch.float64)


def endpoint_error(pred: Tensor, truth: Tensor) -> float:
    """Mean distance of fields (B, D, *spatial) on the cube."""
    size = np.array(truth.shape[2:])
    on_cube = (2 / (size - 1)).reshape(-1, *[1] * len(size))
    return float(np.mean(np.linalg.norm((pred - truth).numpy() * on_cube, axis=1)))


@pytest.mark.parametrize("decay", [0.5, 1.0, 0.2, 3.0])
@pytest.mark.parametrize("predictions", [1, 3])
def test_mean_endpoint_errors_weighted_towards_the_last(spatial_dims: int, decay: float, predictions: int) -> None:
    pred, truth = fields(spatial_dims, predictions)
    errors = [endpoint_error(pred[:, n], truth) for n in range(predictions)]
    expected = np.average(errors, weights=[1.0, 1 / decay, 1 / decay**2][:predictions])
    assert MultiScaleFlowLoss(decay)(pred, truth).item() == pytest.approx(expected, rel=1e-12)


def test_finer_predictions_count_twice_as_much_unless_told_otherwise() -> None:
    pred, truth = torch.zeros(1, 2, 2, 3, 3), torch.zeros(1, 2, 3, 3)
    pred[:, 1, 0] = 1  # a voxel of three is one unit of the cube
    assert MultiScaleFlowLoss()(pred, truth).item() == pytest.approx(2 / 3)
    assert MultiScaleFlowLoss()(pred.flip(1), truth).item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("size", [(5, 9), (33, 65), (64, 48), (5, 7, 9), (16, 1, 12)])
def test_constant_error_on_the_cube_costs_its_length_at_every_size(size: tuple[int, ...]) -> None:
    on_cube = np.array([0.1, -0.2, 0.05])[: len(size)]
    cells = np.array([s - 1 if s > 1 else 1 for s in size])
    truth = torch.randn(2, len(size), *size)
    wrong = truth + torch.tensor(on_cube * cells / 2).float().reshape(1, -1, *([1] * len(size)))
    value = MultiScaleFlowLoss()(torch.stack([wrong, wrong], dim=1), truth)
    assert value.item() == pytest.approx(np.linalg.norm(on_cube), rel=1e-4)


def test_gradient(spatial_dims: int) -> None:
    pred, truth = (values.requires_grad_() for values in fields(spatial_dims))
    assert torch.autograd.gradcheck(MultiScaleFlowLoss(0.7), [pred, truth], fast_mode=spatial_dims == 3)


def test_exact_voxels_have_no_gradient_and_leave_that_of_the_others() -> None:
    pred, truth = fields(2)
    pred[0, 1, :, :3] = truth[0, :, :3]
    pred.requires_grad_()
    MultiScaleFlowLoss()(pred, truth).backward()
    exact = (pred.detach() == truth[:, None]).all(2, keepdim=True).expand_as(pred)
    assert int(exact.sum()) == 2 * 3 * SIZES[2][1]
    assert pred.grad.isfinite().all()
    assert pred.grad[exact].eq(0).all() and pred.grad[~exact].ne(0).all()
    found = torch.stack([truth, truth], dim=1).requires_grad_()
    value = MultiScaleFlowLoss()(found, truth)
    value.backward()
    assert value.item() == 0 and found.grad.eq(0).all()


def test_autocast_halves_and_metadata_do_not_matter() -> None:
    pred, truth = (values.bfloat16() for values in fields(2))
    expected = MultiScaleFlowLoss()(pred.double(), truth.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for given in ((pred, truth), (pred.float(), truth.float())):
            value = MultiScaleFlowLoss()(*given)
            assert value.dtype == torch.float32
            torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=0)
    tagged = MultiScaleFlowLoss()(MetaTensor(pred.float()), MetaTensor(truth.float()))
    assert type(tagged) is Tensor
    torch.testing.assert_close(tagged.double(), expected, rtol=1e-5, atol=0)


def test_export() -> None:
    given = tuple(values.float() for values in fields(2))
    exported = torch.export.export(MultiScaleFlowLoss(), given).module()
    torch.testing.assert_close(exported(2 * given[0], given[1]), MultiScaleFlowLoss()(2 * given[0], given[1]))


@pytest.mark.parametrize("decay", [0.0, -0.5, float("inf"), float("nan")])
def test_decay_that_is_none_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=rf"^decay is {decay}; expected a number above 0, such as 0\.5"):
        MultiScaleFlowLoss(decay)


@pytest.mark.parametrize("shape", [(2, 2, 5, 9), (2, 0, 2, 5, 9), (1, 3, 2, 5, 9), (2, 3, 2, 9, 5), (2, 3, 3, 5, 9)])
def test_predictions_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    text = rf"^pred has shape {'x'.join(map(str, shape))} but target 2x2x5x9; expected \(B, N, \*target"
    with pytest.raises(ValueError, match=text):
        MultiScaleFlowLoss()(torch.zeros(shape), torch.zeros(2, 2, 5, 9))


def test_values_that_are_not_finite_are_refused() -> None:
    pred, truth = fields(2)
    for given in ((pred / 0, truth), (pred, truth * torch.nan)):
        with pytest.raises(ValueError, match="pred or target has a value that is not finite; .* overflow"):
            MultiScaleFlowLoss()(*given)
