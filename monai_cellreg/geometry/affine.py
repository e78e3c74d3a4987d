"""Affine maps: of world points, and as a head for networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..utils import Spacing, axis_spacing, check_choice, check_positive, format_shape
from .grid import SamplingGrid
from .transform import SpatialTransform

AFFINE_KINDS = ("translation", "rigid", "similarity", "affine")

Numbers = Tensor | np.ndarray | Sequence[float] | float


class AffineTransform(SpatialTransform):
    """``T(x) = A x + t`` on world points; also what translations, rigid maps and similarities are.

    Args:
        matrix: (D, D+1), (B, D, D+1) or homogeneous (D+1, D+1), array or tensor; kept in float64.

    Raises:
        ValueError: for another shape.

    Example:
        >>> AffineTransform(np.array([[1, 0, 2], [0, 1, -1]])).points(np.zeros((1, 2)))
        array([[ 2., -1.]])
    """

    def __init__(self, matrix: Tensor | np.ndarray) -> None:
        m = float64_tensor(matrix)
        m = m[None] if m.ndim == 2 else m
        dims = m.shape[-1] - 1
        if m.ndim != 3 or dims not in (2, 3) or m.shape[1] not in (dims, dims + 1):
            raise ValueError(
                f"matrix has shape {format_shape(m.shape)}; expected (D, D+1), (D+1, D+1) or a batch of "
                "these, with D of 2 or 3"
            )
        self.matrix = m[:, :dims]

    @classmethod
    def translation(cls, shift: Numbers) -> AffineTransform:
        """``T(x) = x + shift``.

        Args:
            shift: (D,) or (B, D), in world units.
        """
        t = _rows(shift)
        return cls(torch.cat([torch.eye(t.shape[-1]).to(t).expand(t.shape[0], -1, -1), t[..., None]], dim=-1))

    @classmethod
    def rigid(
        cls, rotation_rad: Numbers, *, shift: Numbers | None = None, centre: Numbers | None = None
    ) -> AffineTransform:
        """``T(x) = R (x - centre) + centre + shift``: :meth:`similarity` of scale 1."""
        return cls.similarity(rotation_rad, 1.0, shift=shift, centre=centre)

    @classmethod
    def similarity(
        cls, rotation_rad: Numbers, scale: Numbers, *, shift: Numbers | None = None, centre: Numbers | None = None
    ) -> AffineTransform:
        """``T(x) = scale R (x - centre) + centre + shift``.

        Args:
            rotation_rad: the angle in 2D (number, (1,) or (B, 1)), the rotation vector in 3D ((3,) or (B, 3)); see
                :func:`rotation_matrix`.
            scale: above 0; number or (B,).
            shift: (D,) or (B, D), in world units; zero when omitted.
            centre: (D,) or (B, D), the world point that is turned about; the origin when omitted.

        Raises:
            ValueError: when the rotation has neither one nor three components, for a centre or shift of another
                dimension, or for a scale that is not positive.

        Example:
            >>> AffineTransform.rigid(np.pi / 2, centre=[10.0, 20.0]).points(np.array([[11.0, 20.0]]))
            array([[10., 21.]])
        """
        factor = float64_tensor(scale)
        check_positive("scale", factor.detach().flatten().tolist())
        linear = rotation_matrix(rotation_rad)
        linear = linear * factor.to(linear).reshape(-1, 1, 1)
        origin = linear.new_zeros(1, linear.shape[-1])
        c, t = (origin if x is None else _rows(x).to(linear) for x in (centre, shift))
        for name, given in (("centre", c), ("shift", t)):
            if given.shape[-1] != linear.shape[-1]:
                raise ValueError(
                    f"{name} has {given.shape[-1]} components but rotation_rad turns {linear.shape[-1]} axes; expected "
                    "one component for each"
                )
        offset = c + t - (linear @ c[..., None])[..., 0]
        return cls(torch.cat([linear.expand(offset.shape[0], -1, -1), offset[..., None]], dim=-1))

    @property
    def spatial_dims(self) -> int:
        return self.matrix.shape[1]

    def _map(self, points: Tensor) -> Tensor:
        m = self.matrix.to(points.device)
        return points.double() @ m[..., :-1].transpose(1, 2) + m[..., -1][:, None]  # float64 is safe from autocast

    def _jacobian(self, points: Tensor, step: float) -> Tensor:
        linear = self.matrix[:, None, :, :-1].to(points.device)
        return linear.expand(max(len(linear), len(points)), points.shape[1], -1, -1)

    def inverse(self) -> AffineTransform:
        try:
            linear = torch.linalg.inv(self.matrix[..., :-1])
        except torch.linalg.LinAlgError as error:
            raise ValueError(f"matrix {self.matrix.tolist()} is singular; expected an invertible affine map") from error
        return AffineTransform(torch.cat([linear, -linear @ self.matrix[..., -1:]], dim=-1))

    def _merged(self, following: SpatialTransform) -> SpatialTransform | None:
        if not isinstance(following, AffineTransform):
            return None
        linear, shift = following.matrix[..., :-1], following.matrix[..., -1:]
        return AffineTransform(
            torch.cat([linear @ self.matrix[..., :-1], linear @ self.matrix[..., -1:] + shift], dim=-1)
        )


class AffineField(nn.Module):
    """Parameters of the affine group from a network to a voxel displacement field.

    Convention: shifts are on the cube [-1, 1]^D of the image (see :attr:`SamplingGrid.cube_to_world`); zeros are the
    identity. Rotation and scale are about the image's centre in physical space, so that a rigid map has no shear
    whatever the shape of the image. By ``kind`` the parameters of one map are

    - ``"translation"``: shift (D);
    - ``"rigid"``: rotation in radians (1 in 2D, 3 in 3D, see :func:`rotation_matrix`), then shift (D);
    - ``"similarity"``: rotation (1 or 3), natural logarithm of the scale (1), then shift (D);
    - ``"affine"``: the offset (D, D+1) of the cube's matrix from the identity.

    Tracing and ``torch.export`` take every kind; ONNX has no matrix exponential for ``"rigid"`` and ``"similarity"``.

    Args:
        spatial_size: image size, D axes.
        kind: see above.
        spacing: distance of neighbouring voxel centres, one number or one for each tensor axis, for both images; only
            the ratios matter. Equal along all axes when omitted. An ``"affine"`` or ``"translation"`` field does not
            depend on it.

    Raises:
        ValueError: for an unknown kind, or a spacing that is not positive or not one number an axis.
    """

    def __init__(self, spatial_size: Sequence[int], *, kind: str = "affine", spacing: Spacing = None) -> None:
        super().__init__()
        self.spatial_size, self.kind = tuple(spatial_size), kind
        dims = len(self.spatial_size)
        check_choice("kind", kind, AFFINE_KINDS)
        self.spacing = axis_spacing(spacing, dims)
        self._half = np.diag(SamplingGrid(self.spatial_size).cube_to_world)[:-1].tolist()  # voxels from centre to face
        turns = dims * (dims - 1) // 2
        shapes = {"translation": (dims,), "rigid": (turns + dims,), "similarity": (turns + 1 + dims,)}
        self.parameter_shape: tuple[int, ...] = shapes.get(kind, (dims, dims + 1))

    def forward(self, parameters: Tensor) -> Tensor:
        """(B, *parameter_shape) parameters to a voxel field (B, D, *spatial_size), float32.

        An affine displacement is a sum of one term an axis, so that no more than one addition a voxel is left to do.
        """
        matrix = self._cube_matrix(parameters)
        dims = matrix.shape[1]
        half = matrix.new_tensor(self._half)
        offset = (matrix - torch.eye(dims, dims + 1).to(matrix)) * half[:, None]
        field = offset[..., -1].float()
        for axis, size in enumerate(self.spatial_size):
            from_centre = torch.arange(size, dtype=matrix.dtype, device=matrix.device) - (size - 1) / 2
            term = (offset[:, :, axis, None] / half[axis] * from_centre).float()
            field = field[..., None] + term.reshape(-1, dims, *[1] * axis, size)
        return field

    def transform(self, parameters: Tensor) -> AffineTransform:
        """The map of the cube [-1, 1]^D that the parameters (B, *parameter_shape) mean."""
        return AffineTransform(self._cube_matrix(parameters))

    def _cube_matrix(self, parameters: Tensor) -> Tensor:
        """(B, D, D+1), float64, on the cube."""
        if tuple(parameters.shape[1:]) != self.parameter_shape:
            raise ValueError(
                f"parameters has shape {format_shape(parameters.shape)}; expected (B, "
                f"{', '.join(map(str, self.parameter_shape))}), the parameter_shape of a field of kind {self.kind!r}"
            )
        p, dims = parameters.double(), len(self.spatial_size)
        identity = torch.eye(dims, dims + 1).to(p)
        if self.kind == "affine":
            return identity + p
        if self.kind == "translation":
            return identity + functional.pad(p[..., None], (dims, 0))
        turns = dims * (dims - 1) // 2
        rotation, log_scale, shift = p.split([turns, p.shape[1] - turns - dims, dims], dim=1)
        scale = log_scale.sum(dim=1).exp()  # a rigid map has no logarithm, whose sum is zero
        extent = p.new_tensor([h * s for h, s in zip(self._half, self.spacing, strict=True)])
        linear = rotation_matrix(rotation) * scale[:, None, None] * extent / extent[:, None]
        return torch.cat([linear, shift[..., None]], dim=-1)


def rotation_matrix(rotation_rad: Numbers) -> Tensor:
    """Rotations, the matrix exponential of skew matrices; differentiable everywhere, zero included.

    Convention: in 2D a positive angle turns the first axis towards the second; in 3D the vector is the axis times the
    angle, right-handed in the order of the components. A 2D angle is the third component of a 3D vector.

    Args:
        rotation_rad: a number, (1,) or (B, 1) in 2D; (3,) or (B, 3) in 3D.

    Returns:
        (B, D, D), float64, on the device of the argument.

    Raises:
        ValueError: for another number of components.
    """
    v = _rows(rotation_rad)
    if v.ndim != 2 or v.shape[-1] not in (1, 3):
        raise ValueError(
            f"rotation_rad has shape {format_shape(v.shape)}; expected one angle (B, 1) in 2D or a rotation vector "
            "(B, 3) in 3D"
        )
    x, y, z = functional.pad(v, (3 - v.shape[-1], 0)).unbind(-1)
    zero = torch.zeros_like(z)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(-1, 3, 3)
    dims = 2 if v.shape[-1] == 1 else 3
    return torch.linalg.matrix_exp(skew[:, :dims, :dims])


def cube_axes(shape: Sequence[int]) -> list[Tensor]:
    """Coordinates (size,), float64, of a lattice of ``shape`` along each axis of the cube [-1, 1]^D.

    An axis of one point sits at 0.
    """
    return [torch.linspace(-1, 1, s, dtype=torch.float64) if s > 1 else torch.zeros(1).double() for s in shape]


def cube_points(shape: Sequence[int]) -> Tensor:
    """Points (N, D), float64, of a lattice of ``shape`` on the cube [-1, 1]^D, the last axis fastest."""
    return torch.stack(torch.meshgrid(*cube_axes(shape), indexing="ij"), dim=-1).flatten(0, -2)


def float64_tensor(numbers: Numbers) -> Tensor:
    """Any numbers as a tensor; those of Python are not rounded to float32 on the way."""
    return numbers.double() if isinstance(numbers, Tensor) else torch.as_tensor(np.array(numbers, dtype=np.float64))


def _rows(numbers: Numbers) -> Tensor:
    """A number, vector (D,) or batch (B, D) as a batch, float64."""
    x = float64_tensor(numbers)
    return x.reshape(1, -1) if x.ndim < 2 else x
