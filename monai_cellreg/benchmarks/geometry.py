"""How fast fields are made and images are warped, against MONAI, kornia and the textbook: time, memory, and the limit
that copying sets. Forward and backward, float32, one thread of the CPU."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from unittest.mock import patch

import torch
from monai.networks import blocks as monai_blocks
from torch import Tensor
from torch.nn import functional

from ..geometry import BSplineField, ThinPlateSplineField, sampling
from ..geometry.affine import cube_points
from ..geometry.bspline_kernel import spline_matrix
from ..networks.blocks import DVF2DDF, Warp
from ..utils import format_shape
from .timing import Candidate, Comparison, gradients, speed_command

OURS = "monai_cellreg"
WITHOUT_NUMBA = "monai_cellreg without Numba"
FLOAT_BYTES = 4


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table and writes ``geometry.md`` and ``geometry.json``."""
    speed_command("geometry", __doc__, cases, repeats=15, arguments=arguments)


def cases(*, quick: bool) -> Iterator[Comparison]:
    """All cases, one at a time since each holds its arrays; tiny ones where only running counts."""
    image, large, volume = ((20, 24), (33, 40), (9, 10, 12)) if quick else ((320, 320), (2048, 2048), (96, 112, 96))
    yield from (warp_case(size, batch) for size, batch in ((image, 8), (large, 1), (volume, 1)))
    yield from (squaring_case(size, batch) for size, batch in ((image, 8), (volume, 1)))
    yield bspline_case(image, 8, 4 if quick else 16)
    yield bspline_case(volume, 1, 3 if quick else 8)
    if find_spec("kornia") is None:
        print("kornia is not installed (extra bench): thin-plate splines are left out")
    else:
        yield thin_plate_case(image, (5, 5), 8)


def warp_case(size: tuple[int, ...], batch: int) -> Comparison:
    """An image of one channel through a field, differentiated in both."""
    image, field = smooth(batch, 1, size), smooth(batch, len(size), size, seed=1)
    moved = 5 * image.numel() + 3 * field.numel()  # image, warped, field; both gradients of all, and image, field again
    return Comparison(
        f"warp {label(size, batch)}", with_monai(monai_blocks.Warp, Warp(), image, field), FLOAT_BYTES * moved
    )


def squaring_case(size: tuple[int, ...], batch: int, steps: int = 7) -> Comparison:
    """Scaling and squaring of a velocity."""
    velocity = smooth(batch, len(size), size)
    moved = 5 * steps * velocity.numel()  # a squaring: flow in, flow out; flow and gradient in, gradient out
    candidates = with_monai(lambda: monai_blocks.DVF2DDF(steps), DVF2DDF(steps), velocity)
    return Comparison(f"scaling and squaring {label(size, batch)}", candidates, FLOAT_BYTES * moved)


def bspline_case(size: tuple[int, ...], batch: int, spacing: int) -> Comparison:
    """Control points to a field: small matrices against a transposed convolution with the whole kernel."""
    ours = BSplineField(size, spacing)
    parameters = drawn(batch, *ours.parameter_shape).requires_grad_()
    moved = 2 * batch * len(size) * math.prod(size)  # the field out, its gradient in
    candidates = {
        "transposed convolution": gradients(transposed_convolution(size, spacing), parameters),
        OURS: gradients(ours, parameters),
    }
    return Comparison(f"B-spline every {spacing} voxels {label(size, batch)}", candidates, FLOAT_BYTES * moved)


def thin_plate_case(size: tuple[int, ...], control_shape: tuple[int, ...], batch: int) -> Comparison:
    """Displacements of a grid of control points to a field."""
    ours = ThinPlateSplineField(size, control_shape)
    parameters = (0.05 * drawn(batch, *ours.parameter_shape)).requires_grad_()
    moved = 2 * batch * len(size) * math.prod(size)
    candidates = {
        "kornia": gradients(kornia_thin_plate(size, control_shape), parameters),
        OURS: gradients(ours, parameters),
    }
    return Comparison(
        f"thin-plate spline of {format_shape(control_shape)} points {label(size, batch)}",
        candidates,
        FLOAT_BYTES * moved,
    )


def with_monai(theirs: Callable[[], torch.nn.Module], ours: torch.nn.Module, *inputs: Tensor) -> dict[str, Candidate]:
    """MONAI's layer and ours, and for volumes ours without compiled kernels where Numba is installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI's constructors
        candidates = {"MONAI": gradients(theirs(), *inputs), OURS: gradients(ours, *inputs)}
    if inputs[0].ndim == 5 and find_spec("numba") is not None:

        def plain(*tensors: Tensor) -> Tensor:
            with patch.object(sampling, "WORTH_COMPILING", math.inf):
                return ours(*tensors)

        candidates[WITHOUT_NUMBA] = gradients(plain, *inputs)
    return candidates


def transposed_convolution(size: tuple[int, ...], spacing: int) -> Callable[[Tensor], Tensor]:
    """Control points (B, D, *control) on the cube to a voxel field, as registration libraries on PyTorch compute it.

    The control points lie ``spacing`` voxels apart, the first as far before the first voxel.
    """
    dims = len(size)
    places = 1 + torch.arange(1, 4 * spacing, dtype=torch.float64) / spacing
    line = spline_matrix(places, 7, 3)[:, 3].float()  # what the middle one of seven control points adds around it
    kernel = line
    for _ in size[1:]:
        kernel = kernel[..., None] * line
    kernel = kernel.expand(dims, 1, *kernel.shape)
    half = torch.tensor([(s - 1) / 2 for s in size]).reshape(-1, *[1] * dims)
    convolve = functional.conv_transpose2d if dims == 2 else functional.conv_transpose3d
    inner = (..., *[slice(0, s) for s in size])
    return lambda x: convolve(x * half, kernel, stride=spacing, padding=3 * spacing - 1, groups=dims)[inner]


def kornia_thin_plate(size: tuple[int, ...], control_shape: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """Control point displacements (B, K, 2) on the cube to those of all pixels (B, pixels, 2).

    Its kernels are centred at the moved points, so that the two splines agree at the control points only.
    """
    from kornia.geometry.transform import get_tps_transform, warp_points_tps

    control, pixels = cube_points(control_shape).float(), cube_points(size).float()

    def field(parameters: Tensor) -> Tensor:
        points = pixels.expand(len(parameters), -1, -1)
        moved = control + parameters
        weights, affine = get_tps_transform(control.expand_as(moved), moved)
        return warp_points_tps(points, moved, weights, affine) - points

    return field


def smooth(batch: int, channels: int, size: tuple[int, ...], *, seed: int = 0) -> Tensor:
    """Smooth random numbers (batch, channels, *size) of a few units, to be differentiated."""
    coarse = 4 * drawn(batch, channels, *[max(s // 16, 2) for s in size], seed=seed)
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return functional.interpolate(coarse, size, mode=mode).requires_grad_()


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def label(size: tuple[int, ...], batch: int) -> str:
    """``320x320, batch 8``."""
    return f"{format_shape(size)}, batch {batch}"


if __name__ == "__main__":
    main()
