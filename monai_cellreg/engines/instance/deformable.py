"""Deformable registration, coarse to fine, before a map that is known already."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...geometry import AffineTransform, SpatialTransform, sample, to_voxel_ddf, warp
from .deformations import Deformation, DenseDeformation
from .linear import overlap
from .pyramid import Images, voxel_sizes
from .smoothing import smooth

WINDOW = 20  # iterations over which convergence is judged


@dataclass(frozen=True)
class Landmarks:
    """Points of the two images that belong together, and how much they count.

    Args:
        fixed: (N, D) world points.
        moving: (N, D) world points.
        weight: of the mean squared distance in voxels, against the image loss.
    """

    fixed: Tensor
    moving: Tensor
    weight: float = 0.1


@dataclass(frozen=True)
class DeformableSettings:
    """How the deformable stage runs.

    Args:
        model: the kind of deformation.
        iterations: most steps at every level.
        step: longest step in voxels of the level.
        smoothing: of every step, a standard deviation in voxels.
        stiffness: of the whole deformation after every step, likewise.
        most_voxels: at the finest level; the field is interpolated to the image's own.
        tolerance: relative gain of the loss over 20 steps below which a level ends.
        time_limit: seconds after which the present result is taken, or None.
    """

    model: type[Deformation] = DenseDeformation
    iterations: int = 60
    step: float = 0.1
    smoothing: float = 1.5
    stiffness: float = 0.5
    most_voxels: int = 1 << 18
    tolerance: float = 2e-4
    time_limit: float | None = None


def optimise_deformation(
    images: Images,
    loss: nn.Module,
    start: SpatialTransform,
    settings: DeformableSettings = DeformableSettings(),
    *,
    landmarks: Landmarks | None = None,
) -> tuple[SpatialTransform, list[dict[str, float]]]:
    """The deformation that, followed by a known map, minimises an image loss.

    Every level takes steps along the smoothed gradient, scaled by its running size (Adam), none longer than
    ``settings.step``.

    Args:
        images: the pair.
        loss: of the warped moving image, the fixed image and a weight or None.
        start: from fixed to moving world points, applied after the deformation: affine, or what is to be refined.
        settings: how it runs.
        landmarks: points that pull as well.

    Returns:
        The deformation alone, from fixed to fixed world points, and of every level the size of its voxels, its
        iterations, first and last loss.

    References:
        Kingma and Ba, Adam, ICLR 2015, as step rule.
    """
    deformation: Deformation | None = None
    levels: list[dict[str, float]] = []
    deadline = None if settings.time_limit is None else time.monotonic() + settings.time_limit
    for size in voxel_sizes(images.fixed_grid, settings.most_voxels):
        part = images.coarser(size)
        shape = part.fixed_grid.shape
        deformation = deformation.refined(shape) if deformation else settings.model(shape, part.fixed.device)
        levels.append(_descend(_Level(part, loss, start, landmarks), deformation, settings, deadline))
        if deadline is not None and time.monotonic() > deadline:
            break
    assert deformation is not None
    return deformation.transform(images.fixed_grid.resized(deformation.shape)), levels


class _Level:
    """The loss of a displacement field at one level."""

    def __init__(self, images: Images, loss: nn.Module, start: SpatialTransform, landmarks: Landmarks | None) -> None:
        self.images, self.loss, self.landmarks = images, loss, landmarks
        self.start = to_voxel_ddf(start, images.fixed_grid, images.moving_grid).to(images.fixed)
        self.linear: Tensor | None = None
        if isinstance(start, AffineTransform):  # exact beyond the border as well, and faster
            self.linear = images.to_moving(start.matrix[0, :, :-1].cpu().numpy())

    def total(self, field_vox: Tensor) -> Tensor:
        """The displacement (1, D, *spatial) from fixed to moving indices that a deformation leads to."""
        if self.linear is None:
            return field_vox + warp(self.start, field_vox)
        return torch.einsum("ij,bj...->bi...", self.linear, field_vox) + self.start

    def __call__(self, field_vox: Tensor) -> Tensor:
        total = self.total(field_vox)
        masked = self.images.fixed_mask is not None or self.images.moving_mask is not None
        weight = overlap(self.images, total.detach()) if masked else None
        value = self.loss(warp(self.images.moving, total), self.images.fixed, weight)
        return value if self.landmarks is None else value + self._pull(total, self.landmarks)

    def _pull(self, total: Tensor, landmarks: Landmarks) -> Tensor:
        """Mean squared distance of mapped fixed and moving landmarks, in moving voxels, times its weight."""
        index = self.images.fixed_grid.world_to_index(landmarks.fixed).to(total)
        reached = index + sample(total, index[None])[0].T
        wanted = self.images.moving_grid.world_to_index(landmarks.moving).to(total)
        return landmarks.weight * (reached - wanted).square().sum(dim=1).mean()


def _descend(
    level: _Level,
    deformation: Deformation,
    settings: DeformableSettings,
    deadline: float | None,
) -> dict[str, float]:
    """Moves a deformation down the loss of a level; its voxel size, iterations, first and last loss."""
    history: list[float] = []
    rule = _StepRule(settings.step)
    for _ in range(settings.iterations):
        parameters = deformation.parameters.detach().requires_grad_(True)
        value = level(deformation.field(parameters))
        (gradient,) = torch.autograd.grad(value, parameters)
        history.append(float(value.detach()))
        with torch.no_grad():
            deformation.move(rule(smooth(gradient, settings.smoothing)), settings.stiffness)
        if deadline is not None and time.monotonic() > deadline:
            break
        if len(history) > WINDOW and history[-WINDOW] - history[-1] < settings.tolerance * abs(history[-1]):
            break
    return {
        "voxel": max(level.images.fixed_grid.spacing),
        "iterations": len(history),
        "first": history[0],
        "last": history[-1],
    }


class _StepRule:
    """Adam with one scale for all components of a vector, and steps of bounded length (in voxels)."""

    def __init__(self, longest: float) -> None:
        self.longest, self.count = longest, 0
        self.mean, self.square = torch.zeros(()), torch.zeros(())

    def __call__(self, gradient: Tensor) -> Tensor:
        self.count += 1
        self.mean = 0.9 * self.mean.to(gradient) + 0.1 * gradient
        squares = gradient.square().mean(dim=1, keepdim=True)
        self.square = 0.99 * self.square.to(gradient) + 0.01 * squares
        scale = (self.square / (1 - 0.99**self.count)).sqrt().add_(1e-12)
        step = self.mean / (1 - 0.9**self.count) / scale
        return step * (-self.longest / max(float(step.abs().max()), 1.0))
