"""Label maps as masks, and the metrics' common handling of labels that are absent."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from ..utils import format_shape
from .pairwise import PairMetric, check_pair


class LabelMetric(PairMetric):
    """A metric of one number a label and pair, of label maps; :meth:`aggregate` is the mean over labels, then pairs.

    Label maps hold whole numbers: warp them with ``mode="nearest"``, which does not mix labels. A label that neither
    map has is NaN and left out of the means.

    Args:
        labels: the labels to measure; a column of ``get_buffer`` each.

    Raises:
        ValueError: for no label, or one that is not a whole number or given twice.
    """

    def __init__(self, labels: Sequence[int] = (1,)) -> None:
        super().__init__()
        if not labels or any(int(label) != label for label in labels) or len(set(labels)) != len(labels):
            raise ValueError(f"labels is {list(labels)}, expected one or more different whole numbers")
        self.labels = tuple(int(label) for label in labels)

    @abstractmethod
    def _measured(self, predicted: Tensor, true: Tensor) -> Tensor:
        """(B, L) of masks (B, L, *spatial), bool; what it gives for a label that neither has is not used."""

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None) -> Tensor:
        """Label maps (B, 1, *spatial) to (B, L)."""
        predicted, true = self._masks(y_pred, y)
        absent = ~(predicted | true).flatten(2).any(2)
        return torch.where(absent, torch.nan, self._measured(predicted, true))

    def _masks(self, y_pred: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """Both label maps as masks (B, L, *spatial) of the labels."""
        y = check_pair(y_pred, y, "true label map (B, 1, *spatial)")
        return label_masks("y_pred", y_pred, self.labels), label_masks("y", y, self.labels)


def label_masks(name: str, label_map: Tensor, labels: Sequence[int]) -> Tensor:
    """Masks (B, L, *spatial), bool, of the labels of a map (B, 1, *spatial).

    Raises:
        ValueError: for several channels, or values that are not whole numbers (mixed labels, NaN).
    """
    if label_map.ndim not in (4, 5) or label_map.shape[1] != 1:
        raise ValueError(
            f"{name} has shape {format_shape(label_map.shape)}, expected a label map (B, 1, *spatial); "
            "take the argmax of one-hot channels"
        )
    mixed = label_map != label_map.round() if label_map.dtype.is_floating_point else torch.zeros_like(label_map)
    if bool(mixed.any()):
        raise ValueError(
            f"{name} holds {int(mixed.sum())} values that are not whole numbers, such as {label_map[mixed][0].item()}, "
            'expected labels; warp label maps with mode="nearest", and threshold heat maps'
        )
    return torch.cat([label_map == label for label in labels], dim=1)
