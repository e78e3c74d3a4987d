"""From a batch of the data loader to what the network takes and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..transforms import KnownPairs, PairAugmentation, RandomAppearance
from ..utils import plain

Prepared = tuple[Tensor, dict[str, Tensor], tuple[Tensor], dict[str, Any]]
KNOWN = ("fixed", "moving", "fixed_label", "moving_label", "fixed_to_moving")
IMAGES_AND_LABELS = ("fixed", "moving", "fixed_label", "moving_label")


class PrepareKnownPairs:
    """Makes a known pair of every single image of a batch, on the training device; MONAI's ``prepare_batch``.

    Args:
        pairs: makes the pairs.
        appearance: changes the intensities of both images, independently; ``None`` leaves them.
        labels_only: the labels take the place of the images, for networks that register segmentations.
    """

    def __init__(
        self, pairs: KnownPairs, appearance: RandomAppearance | None = None, *, labels_only: bool = False
    ) -> None:
        self.pairs, self.appearance, self.labels_only = pairs, appearance, labels_only

    def __call__(
        self, batch: Mapping[str, Tensor], device: str | torch.device | None = None, non_blocking: bool = False
    ) -> Prepared:
        """``image`` and ``label`` (B, 1, *spatial) to (fixed, all that is known, (moving,), {})."""
        image, label = (plain(batch[key]).to(device, non_blocking=non_blocking) for key in ("image", "label"))
        pair = self.pairs(image, label)
        if self.labels_only:
            pair["fixed"], pair["moving"] = pair["fixed_label"], pair["moving_label"]
        elif self.appearance is not None:
            pair["fixed"], pair["moving"] = self.appearance(pair["fixed"]), self.appearance(pair["moving"])
        return pair["fixed"], {key: pair[key] for key in KNOWN}, (pair["moving"],), {}


def prepare_pairs(
    batch: Mapping[str, Tensor], device: str | torch.device | None = None, non_blocking: bool = False
) -> Prepared:
    """Pairs that are in the batch already, with the truth, to (fixed, all that is known, (moving,), {})."""
    on_device = {key: plain(batch[key]).to(device, non_blocking=non_blocking) for key in KNOWN}
    return on_device["fixed"], {key: on_device[key] for key in KNOWN}, (on_device["moving"],), {}


def prepare_label_pairs(
    batch: Mapping[str, Tensor], device: str | torch.device | None = None, non_blocking: bool = False
) -> Prepared:
    """As :func:`prepare_pairs`, with the labels in the place of the images."""
    labels = {"fixed": batch["fixed_label"], "moving": batch["moving_label"]}
    return prepare_pairs({**batch, **labels}, device, non_blocking)


class PrepareImagePairs:
    """Passes pairs of images on, with labels where there are some, changed at random; MONAI's ``prepare_batch``.

    Args:
        augmentation: changes pose and intensities on the training device; ``None`` leaves them.
    """

    def __init__(self, augmentation: PairAugmentation | None = None) -> None:
        self.augmentation = augmentation

    def __call__(
        self, batch: Mapping[str, Any], device: str | torch.device | None = None, non_blocking: bool = False
    ) -> Prepared:
        """``fixed``, ``moving`` (B, 1, *spatial) and labels where present to (fixed, all of these, (moving,), {})."""
        pair = {
            key: plain(batch[key]).to(device, non_blocking=non_blocking) for key in IMAGES_AND_LABELS if key in batch
        }
        if self.augmentation is not None:
            pair = self.augmentation(pair)
        return pair["fixed"], pair, (pair["moving"],), {}


def prepare_image_pairs(
    batch: Mapping[str, Any], device: str | torch.device | None = None, non_blocking: bool = False
) -> Prepared:
    """Pairs of images as they are, for evaluation; see :class:`PrepareImagePairs`."""
    return PrepareImagePairs()(batch, device, non_blocking)
