"""Registration in stages: each reads the moving image as the stages before have warped it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ...geometry import (
    AffineField,
    DenseField,
    RadialBasisField,
    SpatialTransform,
    ThinPlateSplineField,
    warp,
)
from .control_point_regressor import ControlPointRegressor
from .flownet import FlowNet

TRANSFORMERS = ("affine", "gaussian", "tps", "flownet")
"""The single transformation models; their names, joined by ``_``, name a cascade."""


class Head(Protocol):
    """A geometry head: parameters to a voxel field, and to a map of the cube."""

    parameter_shape: tuple[int, ...]

    def __call__(self, parameters: Tensor) -> Tensor:
        """Parameters (B, *parameter_shape) to a voxel field (B, D, *spatial)."""

    def transform(self, parameters: Tensor) -> SpatialTransform:
        """The map of the cube that the parameters mean."""


class Stage(nn.Module):
    """A network and the head that makes a map of what it predicts.

    Args:
        network: a pair as channels (B, 2 C, *image_size) to parameters of the head, or a list of them, coarse to fine.
        field: the head.
    """

    def __init__(self, network: nn.Module, field: Head) -> None:
        super().__init__()
        self.network, self.field = network, field

    def forward(self, pair: Tensor) -> list[Tensor]:
        """The pair (B, 2 C, *image_size) to parameters (B, *parameter_shape), coarse to fine."""
        found = self.network(pair)
        return [p.float() for p in ([found] if isinstance(found, Tensor) else found)]


@dataclass(frozen=True)
class CascadeMaps:
    """What a cascade finds.

    Args:
        parameters: of every stage, in the order in which they were found; those found later act first.
        fields: voxel fields (B, D, *image_size) of the map so far, coarse to fine and stage by stage; the last one is
            the whole map.
    """

    parameters: list[Tensor]
    fields: list[Tensor]


class Cascade(nn.Module):
    """Stages that are trained together: with maps T1, T2 .. of the stages, the whole map is ``x -> T1(T2(..(x)))``.

    Args:
        stages: the first one sees the pair, every other one the moving image as warped by the map so far.

    References:
        Deep learning for non-rigid registration of cell nuclei in temporal microscopy images, SPIE 2022, Sect. 2.1 and
        Fig. 2. There points of the source are mapped forwards, ``T2(T1(x))``; here the fixed points are pulled back.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        super().__init__()
        if not stages:
            raise ValueError("stages is empty; expected at least one stage")
        self.stages = nn.ModuleList(stages)

    def forward(self, fixed: Tensor, moving: Tensor, before: Tensor | None = None) -> CascadeMaps:
        """Registers a batch of pairs.

        Args:
            fixed: (B, C, *image_size).
            moving: likewise.
            before: a map (B, D, *image_size) in voxels that acts after those that are found, to refine it.
        """
        total, parameters, fields = before, [], []
        for stage in self.stages:
            found = _found(stage, fixed, moving, total)
            fields += [_after(stage.field(p), total) for p in found]
            total = fields[-1]
            parameters.append(found[-1])
        return CascadeMaps(parameters, fields)

    def parameters_of(self, fixed: Tensor, moving: Tensor) -> list[Tensor]:
        """The parameters of every stage, as :meth:`forward` finds them, without the fields that only a loss needs."""
        total: Tensor | None = None
        parameters: list[Tensor] = []
        for stage in self.stages:
            if parameters:
                total = _after(self.stages[len(parameters) - 1].field(parameters[-1]), total)
            parameters.append(_found(stage, fixed, moving, total)[-1])
        return parameters

    def transforms(self, parameters: Sequence[Tensor]) -> list[SpatialTransform]:
        """The maps of the cube [-1, 1]^D that parameters of all stages mean, in the order in which they act."""
        return [stage.field.transform(p) for stage, p in zip(self.stages, parameters, strict=True)][::-1]


def _found(stage: nn.Module, fixed: Tensor, moving: Tensor, total: Tensor | None) -> list[Tensor]:
    """What a stage finds where the moving image is warped by the map so far."""
    return stage(torch.cat([fixed, moving if total is None else warp(moving, total)], dim=1))


def _after(step: Tensor, total: Tensor | None) -> Tensor:
    """The field of a step that acts before the map so far."""
    return step if total is None else step + warp(total, step)


def cascade_of(
    transformer: str, image_size: Sequence[int], *, control_shape: Sequence[int] | None = None, in_channels: int = 1
) -> Cascade:
    """A cascade by the names of its transformation models.

    Args:
        transformer: ``"affine"``, ``"gaussian"`` (radial basis), ``"tps"`` (thin-plate spline) or ``"flownet"`` (dense
            flow), or several of them joined by ``_``, such as ``"tps_flownet"``.
        image_size: of the images, every axis divisible by 32.
        control_shape: control points of the splines along each axis; 5 each when omitted, as in the paper.
        in_channels: channels of one image.

    Raises:
        ValueError: for an unknown name, or a size that is not divisible by 32.

    Example:
        >>> [type(stage.field).__name__ for stage in cascade_of("tps_flownet", (64, 64)).stages]
        ['ThinPlateSplineField', 'DenseField']
    """
    names = transformer.split("_") if isinstance(transformer, str) else []
    if not names or any(name not in TRANSFORMERS for name in names):
        raise ValueError(
            f"transformer is {transformer!r}; expected one of {', '.join(TRANSFORMERS)}, or several joined by '_', "
            "such as 'tps_flownet'"
        )
    size = tuple(image_size)
    control = (5,) * len(size) if control_shape is None else tuple(control_shape)
    return Cascade([_stage(name, size, control, in_channels) for name in names])


def _stage(name: str, size: tuple[int, ...], control_shape: tuple[int, ...], in_channels: int) -> Stage:
    if name == "flownet":
        return Stage(FlowNet(size, in_channels=in_channels), DenseField(size))
    if name == "affine":
        field: Head = AffineField(size)
    elif name == "gaussian":
        field = RadialBasisField(size, control_shape)
    else:
        field = ThinPlateSplineField(size, control_shape)
    return Stage(ControlPointRegressor(size, field.parameter_shape, in_channels=2 * in_channels), field)
