"""Overlap against sets of voxels counted in NumPy, with the direction of the map pinned."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from monai_cellreg.geometry import warp
from monai_cellreg.metrics import LabelDice, LabelIoU, MaskIoU, registration_iou


def counted_iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def heat_maps(seed: int, size: tuple[int, ...] = (7, 12), batch: int = 3) -> Tensor:
    return torch.rand(batch, 1, *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(7, 12), (4, 5, 6)])
def test_one_value_an_image(size: tuple[int, ...]) -> None:
    predicted, label = heat_maps(0, size), (heat_maps(1, size) > 0.3).float()
    values = MaskIoU()(predicted, label)
    expected = [counted_iou(p[0].numpy() > 0.5, y[0].numpy() > 0.5) for p, y in zip(predicted, label, strict=True)]
    np.testing.assert_allclose(values.numpy(), np.array(expected)[:, None], rtol=1e-6)


def test_threshold_is_above_one_half() -> None:
    assert MaskIoU()(torch.full((1, 1, 2, 2), 0.5), torch.ones(1, 1, 2, 2)).item() == 0
    assert MaskIoU()(torch.full((1, 1, 2, 2), 0.51), torch.ones(1, 1, 2, 2)).item() == 1


def test_two_empty_masks_agree() -> None:
    empty, full = torch.zeros(1, 1, 3, 4), torch.ones(1, 1, 3, 4)
    assert MaskIoU()(empty, empty).item() == 1
    assert MaskIoU()(empty, full).item() == MaskIoU()(full, empty).item() == 0


def test_mean_over_all_images_of_all_batches_until_reset() -> None:
    metric = MaskIoU()
    batches = [(heat_maps(k, batch=k), heat_maps(k + 10, batch=k)) for k in (1, 3)]
    values = np.concatenate([metric(*batch).numpy() for batch in batches])
    assert len(values) == 4
    assert metric.aggregate().item() == pytest.approx(values.mean())
    metric.reset()
    metric(*batches[0])
    assert metric.aggregate().item() == pytest.approx(values[0, 0])


def test_masks_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="^y_pred has shape 3x1x7x12 but y has shape 3x1x12x7, expected the same"):
        MaskIoU()(heat_maps(0), heat_maps(0, (12, 7)))
    with pytest.raises(ValueError, match="^y is None, expected the true mask"):
        MaskIoU()(heat_maps(0))
    with pytest.raises(ValueError, match="^y_pred holds 1 of 4 values that are NaN"):
        MaskIoU()(torch.tensor([[[[0.0, torch.nan, 1, 1]]]]), torch.ones(1, 1, 1, 4))


def shifted_blocks() -> tuple[Tensor, Tensor, Tensor]:
    """A block, the same one 3 rows further down and 2 columns to the left, and the map from the first to the second."""
    fixed, moving = torch.zeros(1, 1, 16, 20), torch.zeros(1, 1, 16, 20)
    fixed[:, :, 2:7, 6:14] = 1
    moving[:, :, 5:10, 4:12] = 1
    return fixed, moving, torch.tensor([3.0, -2.0]).reshape(1, 2, 1, 1).expand(1, 2, 16, 20)


def test_right_direction_registers_and_the_others_do_not() -> None:
    fixed, moving, field = shifted_blocks()
    before = registration_iou(fixed, moving).item()
    assert before == pytest.approx(2 * 6 / (40 + 40 - 12))
    assert registration_iou(fixed, moving, field).item() == 1
    assert registration_iou(fixed, moving, -field).item() == 0
    assert registration_iou(fixed, moving, field.flip(1)).item() < before
    assert registration_iou(moving, fixed, -field).item() == 1


@pytest.mark.parametrize("size", [(13, 18), (8, 9, 11)])
def test_labels_are_read_at_the_nearest_voxel(size: tuple[int, ...]) -> None:
    fixed, moving = ((heat_maps(seed, size) > 0.6).float() for seed in (0, 1))
    field = 3 * torch.randn(3, len(size), *size, generator=torch.Generator().manual_seed(2))
    index = np.indices(size) + field.numpy().astype(np.float64)
    warped = [map_coordinates(m[0].numpy(), at, order=0, mode="nearest") for m, at in zip(moving, index, strict=True)]
    expected = [counted_iou(f[0].numpy() > 0.5, w > 0.5) for f, w in zip(fixed, warped, strict=True)]
    values = registration_iou(fixed, moving, field)
    assert values.shape == (3, 1)
    np.testing.assert_allclose(values[:, 0].numpy(), expected, rtol=1e-6)


def counted_dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def label_maps(seed: int, size: tuple[int, ...] = (7, 12), batch: int = 3) -> Tensor:
    return torch.randint(0, 4, (batch, 1, *size), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("metric, counted", [(LabelDice, counted_dice), (LabelIoU, counted_iou)])
@pytest.mark.parametrize("size", [(7, 12), (4, 5, 6)])
def test_each_label_of_each_pair(metric: type, counted: Callable, size: tuple[int, ...]) -> None:
    predicted, true = label_maps(0, size), label_maps(1, size)
    for labels in ([1, 3, 0], [2]):
        measure = metric(labels)
        pairs = list(zip(predicted.numpy(), true.numpy(), strict=True))
        expected = [[counted(p == label, y == label) for label in labels] for p, y in pairs]
        np.testing.assert_allclose(measure(predicted.float(), true).numpy(), expected, rtol=1e-6)
        assert measure.aggregate().item() == pytest.approx(np.mean(expected), rel=1e-6)


@pytest.mark.parametrize("metric", [LabelDice, LabelIoU])
def test_label_of_one_side_is_0_and_of_none_is_left_out(metric: type) -> None:
    predicted, true = torch.tensor([[[[0, 1, 2, 2]]]]), torch.tensor([[[[0, 1, 5, 5]]]])
    measure = metric([1, 2, 5, 9])
    np.testing.assert_array_equal(measure(predicted, true), [[1, 0, 0, np.nan]])
    assert measure.aggregate().item() == pytest.approx(1 / 3)
    measure(predicted, torch.full_like(true, 7))  # three labels at 0
    assert measure.aggregate().item() == pytest.approx((1 / 3 + 0) / 2)


def test_labels_warped_without_mixing_are_measured_and_mixed_ones_refused() -> None:
    moving = label_maps(0)
    field = 0.6 * torch.randn(3, 2, 7, 12, generator=torch.Generator().manual_seed(2))
    warped = warp(moving.float(), field, mode="nearest")
    assert 0 < LabelDice([1, 2, 3])(warped, moving).min() < 1
    with pytest.raises(
        ValueError, match='^y_pred holds .* not whole numbers, such as .*warp label maps with mode="nea'
    ):
        LabelDice()(warp(moving.float(), field), moving)
    with pytest.raises(ValueError, match="^y holds 1 values that are not whole numbers, such as nan"):
        LabelDice()(torch.ones(1, 1, 1, 2), torch.tensor([[[[1.0, torch.nan]]]]))


def test_bad_labels_are_refused() -> None:
    for labels in ([], [1, 1], [0.5]):
        with pytest.raises(ValueError, match="^labels is .* expected one or more different whole numbers"):
            LabelIoU(labels)
    with pytest.raises(ValueError, match="^y_pred has shape 3x2x7x12, expected a label map .* argmax"):
        LabelIoU()(torch.zeros(3, 2, 7, 12), torch.zeros(3, 2, 7, 12))
    with pytest.raises(ValueError, match="^y_pred has shape 3x1x7x12 but y has shape 3x1x12x7"):
        LabelIoU()(label_maps(0), label_maps(0, (12, 7)))
