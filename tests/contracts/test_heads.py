"""What every head of a network keeps, from its parameters to a voxel field, in 2D and 3D.

A new head is tested by one more line in HEADS. The map that a head gives is tested as every other map, by the contract
of the transforms and against other libraries; here the field has to be that map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from nibabel.affines import apply_affine
from torch import Tensor, nn

from monai_cellreg.geometry import (
    AffineField,
    BSplineField,
    DenseField,
    PatchBSplineField,
    RadialBasisField,
    SamplingGrid,
    SpatialTransform,
    ThinPlateSplineField,
    VelocityField,
)
from monai_cellreg.geometry.interop import cube_to_voxel_ddf

Size = tuple[int, ...]


@dataclass(frozen=True)
class Head:
    """A head of networks.

    Args:
        build: image size to head.
        parameter_shape: image size to the shape of the parameters of one map, counted by hand.
        scale: standard deviation of random parameters that displace by about a tenth of the image.
    """

    build: Callable[[Size], nn.Module]
    parameter_shape: Callable[[Size], Size]
    scale: float = 0.1

    def drawn(self, size: Size, *, batch: int = 2) -> Tensor:
        """Random parameters (batch, *parameter_shape)."""
        generator = torch.Generator().manual_seed(0)
        return self.scale * torch.randn(batch, *self.parameter_shape(size), generator=generator)


CONTROL, LATTICE = (2, 4, 3), (5, 6, 4)  # control points along each axis, as many of them as the image has


def affine(size: Size, kind: str) -> nn.Module:
    return AffineField(size, kind=kind, spacing=(2.0, 1.0, 0.5)[: len(size)])


def turns(size: Size) -> int:
    return 1 if len(size) == 2 else 3


def vector_a_point(size: Size) -> Size:
    return 8 if len(size) == 2 else 24, len(size)


def bspline(size: Size, order: int) -> nn.Module:
    return BSplineField(size, control_shape=LATTICE[: len(size)], order=order)


def vector_on_lattice(size: Size) -> Size:
    return len(size), *LATTICE[: len(size)]


def vector_a_patch(size: Size) -> Size:
    return len(size), *((s + 3) // 4 for s in size)


def halved(size: Size) -> Size:
    return tuple((s + 1) // 2 for s in size)


HEADS = {
    "translation": Head(partial(affine, kind="translation"), lambda s: (len(s),)),
    "rigid": Head(partial(affine, kind="rigid"), lambda s: (turns(s) + len(s),)),
    "similarity": Head(partial(affine, kind="similarity"), lambda s: (turns(s) + 1 + len(s),)),
    "affine": Head(partial(affine, kind="affine"), lambda s: (len(s), len(s) + 1)),
    "thin-plate spline": Head(lambda s: ThinPlateSplineField(s, CONTROL[: len(s)]), vector_a_point),
    "radial basis": Head(lambda s: RadialBasisField(s, CONTROL[: len(s)]), vector_a_point),
    "radial basis, width by axis": Head(
        lambda s: RadialBasisField(s, CONTROL[: len(s)], sigma=(1.1, 0.8, 0.9)[: len(s)]), vector_a_point
    ),
    "B-spline of order 1": Head(partial(bspline, order=1), vector_on_lattice),
    "B-spline of order 2": Head(partial(bspline, order=2), vector_on_lattice),
    "B-spline of order 3": Head(partial(bspline, order=3), vector_on_lattice),
    "B-spline of patches, order 1": Head(partial(PatchBSplineField, patch_size=4, order=1), vector_a_patch),
    "B-spline of patches, order 2": Head(partial(PatchBSplineField, patch_size=4, order=2), vector_a_patch),
    "B-spline of patches, order 3": Head(partial(PatchBSplineField, patch_size=4, order=3), vector_a_patch),
    "dense": Head(DenseField, lambda s: (len(s), *s)),
    "velocity": Head(partial(VelocityField, steps=5), lambda s: (len(s), *s), scale=0.8),
    "velocity, coarser": Head(
        lambda s: VelocityField(s, velocity_shape=halved(s)), lambda s: (len(s), *halved(s)), scale=0.8
    ),
    "velocity, coarser along one axis": Head(
        lambda s: VelocityField(s, velocity_shape=(*s[:-1], 3), steps=5), lambda s: (len(s), *s[:-1], 3), scale=0.8
    ),
    "velocity, one along an axis": Head(
        lambda s: VelocityField(s, velocity_shape=(1, *s[1:]), steps=5), lambda s: (len(s), 1, *s[1:]), scale=0.8
    ),
}
SIZES = [(8, 13), (1, 9), (5, 6, 7)]
WIDE = {2: (3, 1030), 3: (2, 3, 1030)}  # bfloat16 holds no odd column beyond 256


@pytest.fixture(params=HEADS.values(), ids=HEADS.keys())
def head(request: pytest.FixtureRequest) -> Head:
    return request.param


@pytest.fixture(params=SIZES, ids=str)
def size(request: pytest.FixtureRequest) -> Size:
    return request.param


def centres_on_cube(size: Size) -> Tensor:
    """Voxel centres (voxels, D) on the cube."""
    grid = SamplingGrid(size)
    return torch.tensor(apply_affine(np.linalg.inv(grid.cube_to_world), grid.index().reshape(-1, len(size))))


def field_of(transform: SpatialTransform, size: Size) -> Tensor:
    """The voxel field (B, D, *size) of a map of the cube, differentiable, float64."""
    cube = centres_on_cube(size)
    return cube_to_voxel_ddf((transform.points(cube[None]) - cube).transpose(1, 2), size)


def test_parameters_have_the_shape_that_is_said(head: Head, size: Size) -> None:
    assert head.build(size).parameter_shape == head.parameter_shape(size)


def test_zeros_are_the_identity(head: Head, size: Size) -> None:
    module, zeros = head.build(size), torch.zeros(1, *head.parameter_shape(size))
    assert module(zeros).abs().max() == 0
    cube = centres_on_cube(size)
    torch.testing.assert_close(module.transform(zeros).points(cube), cube, rtol=0, atol=1e-12)


def test_field_is_the_map_of_the_cube(head: Head, size: Size) -> None:
    module, parameters, to_world = head.build(size), head.drawn(size, batch=3), SamplingGrid(size).cube_to_world
    field, transform = module(parameters), module.transform(parameters)
    assert field.dtype == torch.float32 and field.is_contiguous()
    assert transform.spatial_dims == len(size)
    moved = apply_affine(to_world, transform.points(centres_on_cube(size)))  # (3, voxels, D)
    index = SamplingGrid(size).index().reshape(-1, len(size)).numpy()
    expected = np.moveaxis(moved - index, -1, 1).reshape(3, len(size), *size)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(field, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(module(parameters[1:2]), field[1:2], rtol=0, atol=1e-6)


@pytest.mark.parametrize("factor", [0.0, 1.0])
def test_gradient_is_that_of_the_map(head: Head, size: Size, factor: float) -> None:
    """Also at the identity, where every training begins."""
    module, parameters = head.build(size), (factor * head.drawn(size)).requires_grad_()
    weight = torch.randn(1, len(size), *size, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((weight * module(parameters)[:1]).sum(), parameters)
    (expected,) = torch.autograd.grad((weight * field_of(module.transform(parameters), size)[:1]).sum(), parameters)
    assert gradient[1].abs().max() == 0 and gradient[0].abs().max() > 0.1
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_autocast_does_not_round(head: Head, spatial_dims: int) -> None:
    size = WIDE[spatial_dims]
    module, parameters = head.build(size), head.drawn(size).requires_grad_()
    expected = module(parameters)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        field, mapped = module(parameters), field_of(module.transform(parameters), size)
    assert field.dtype == torch.float32
    torch.testing.assert_close(field, expected, rtol=0, atol=0)
    torch.testing.assert_close(mapped.float(), expected, rtol=1e-5, atol=1e-3)
    half = module(parameters.detach().bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, module(parameters.detach().bfloat16().float()), rtol=0, atol=0)


def test_head_has_nothing_to_learn_or_to_save(head: Head, size: Size) -> None:
    module = head.build(size)
    assert module.state_dict() == {}
    assert list(module.parameters()) == []


def test_inputs_are_not_modified(head: Head, size: Size) -> None:
    parameters = head.drawn(size)
    before = parameters.clone()
    module = head.build(size)
    module(parameters)
    module.transform(parameters).points(centres_on_cube(size))
    assert torch.equal(parameters, before)


def test_field_is_made_where_the_parameters_lie(head: Head, size: Size, device: str) -> None:
    parameters = head.drawn(size)
    module = head.build(size)
    expected = module(parameters)
    field = module.to(device)(parameters.to(device))
    assert field.device.type == module.transform(parameters.to(device)).device.type == device
    torch.testing.assert_close(field.cpu(), expected, rtol=0, atol=1e-5)
