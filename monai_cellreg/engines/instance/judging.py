"""What the stages of a registration are judged by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ...geometry import AffineTransform, SpatialTransform, to_voxel_ddf, voxel_jacobian_determinant, warp
from .linear import linear_loss, overlap
from .pyramid import Images
from .similarity import correlation_loss, local_agreement, mutual_information_loss

COMPARED = 128  # voxels along the longest axis
OVERLAP_POWER = 0.75  # of the share of the smaller image that both show, as a factor of their correlation
STRETCH = 2.0  # most that an affine map may stretch or shrink
LEAST_OVERLAP = 0.25  # of the smaller image
DIFFERENT = 1.6  # mutual information as a multiple of what the correlation alone explains
LEAST_INFORMATION = 0.3  # nats, below which two images tell nothing about their relation


def voxel_field(images: Images, transform: SpatialTransform) -> Tensor:
    """The displacement (1, D, *spatial) from fixed to moving indices."""
    return to_voxel_ddf(transform, images.fixed_grid, images.moving_grid).to(images.fixed)


def small(images: Images) -> Images:
    """The images at about ``COMPARED`` voxels along the longest axis, where stages are compared."""
    longest = max(n * s for n, s in zip(images.fixed_grid.shape, images.fixed_grid.spacing, strict=True))
    return images.coarser(longest / COMPARED)


@torch.no_grad()
def affine_correlation(images: Images, matrix: np.ndarray) -> float:
    """Correlation over what both show, less for a small overlap."""
    part = small(images)
    value = linear_loss(part, correlation_loss, torch.eye(images.dims + 1).to(part.fixed), matrix)
    return -float(value) * min(coverage(images, matrix), 1.0) ** OVERLAP_POWER


@torch.no_grad()
def affine_information(images: Images, matrix: np.ndarray) -> float:
    """Mutual information in nats over what both show."""
    part = small(images)
    return -float(linear_loss(part, mutual_information_loss, torch.eye(images.dims + 1).to(part.fixed), matrix))


@torch.no_grad()
def coverage(images: Images, matrix: np.ndarray) -> float:
    """Share of the smaller image that overlaps with the other one, whatever their masks count."""
    part = replace(small(images), fixed_mask=None, moving_mask=None)
    seen = float(overlap(part, voxel_field(part, AffineTransform(matrix))).sum())
    shrunk = np.prod(part.moving_grid.spacing) / np.prod(part.fixed_grid.spacing)
    return seen / min(part.fixed[0, 0].numel(), part.moving[0, 0].numel() * shrunk)


def is_plausible(images: Images, matrix: np.ndarray, start: np.ndarray) -> bool:
    """Whether an affine map stretches little against its start and keeps the images on each other."""
    stretch = np.linalg.svd((np.linalg.inv(start) @ matrix)[:-1, :-1], compute_uv=False)
    return bool(stretch.max() < STRETCH and stretch.min() > 1 / STRETCH and coverage(images, matrix) > LEAST_OVERLAP)


@torch.no_grad()
def agreement(images: Images, transform: SpatialTransform) -> float:
    """Local agreement of the fixed image and the warped moving one."""
    field_vox = voxel_field(images, transform)
    return local_agreement(warp(images.moving, field_vox), images.fixed, unmasked(images, field_vox))


@torch.no_grad()
def folded_share(images: Images, transform: SpatialTransform) -> float:
    """Share of the fixed voxels at which the map folds, mirrored files aside."""
    determinant = voxel_jacobian_determinant(voxel_field(images, transform))
    mirrored = np.linalg.det(images.fixed_grid.affine) * np.linalg.det(images.moving_grid.affine) < 0
    return float((determinant * (-1 if mirrored else 1) <= 0).double().mean())


@torch.no_grad()
def similarities(images: Images, transform: SpatialTransform) -> tuple[float, float]:
    """Correlation over what both show, and local agreement."""
    field_vox = voxel_field(images, transform)
    warped, weight = warp(images.moving, field_vox), overlap(images, field_vox)
    if float(weight.sum()) == 0:
        return -1.0, 0.0
    local = local_agreement(warped, images.fixed, unmasked(images, field_vox))
    return -float(correlation_loss(warped, images.fixed, weight)), local


def unmasked(images: Images, field_vox: Tensor) -> Tensor | None:
    """What both masks count (1, 1, *spatial), given the field from fixed to moving indices; None without masks."""
    return None if images.fixed_mask is None and images.moving_mask is None else overlap(images, field_vox)


@torch.no_grad()
def are_different(images: Images, transform: SpatialTransform) -> bool:
    """Whether intensities mean different things in the two images, as in T1 and T2.

    Where one image is a noisy linear function of the other, their mutual information is that of two Gaussian variables
    of their correlation ``r``, ``-log(1 - r**2) / 2``. Much more than that tells of another kind of relation.
    """
    part = small(images)
    field_vox = voxel_field(part, transform)
    warped, weight = warp(part.moving, field_vox), overlap(part, field_vox)
    if float(weight.sum()) == 0:
        return False
    correlation = float(correlation_loss(warped, part.fixed, weight))
    information = -float(mutual_information_loss(warped, part.fixed, weight))
    return information > max(LEAST_INFORMATION, -DIFFERENT * np.log(max(1 - correlation**2, 1e-6)) / 2)
