"""Overlap against sets of voxels counted in NumPy, with the direction of the map pinned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from monai_cellreg.metrics import MaskIoU, registration_iou


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
    with pytest.raises(ValueError, match=r"y_pred has shape \(3, 1, 7, 12\), y \(3, 1, 12, 7\); expected the same"):
        MaskIoU()(heat_maps(0), heat_maps(0, (12, 7)))
    with pytest.raises(ValueError, match="y None; expected the same"):
        MaskIoU()(heat_maps(0))


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
