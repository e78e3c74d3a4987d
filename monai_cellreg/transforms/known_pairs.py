"""Image pairs whose true map is known exactly, made from single images on the training device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry import SamplingGrid, sample, voxel_to_cube_ddf
from ..utils import Spacing, axis_spacing, check_choice, check_not_negative
from .deformation_family import FAMILIES, deformation_family

LEAST_DETERMINANT = 0.1


@dataclass(frozen=True)
class DeformationRange:
    """How made pairs are deformed, and how far; lengths on the cube [-1, 1]^D of the image.

    Args:
        rotation_deg: standard deviation of the rotation angle; turns are rigid whatever the shape of the image.
        stretch: standard deviation of the logarithmic stretch along each direction.
        shift: standard deviation of the common shift along each axis; zero gives pairs without a mean shift.
        local: standard deviation of the displacement of each control point.
        least: the smallest of the factors, drawn uniformly up to 1, by which a pair's deformation is scaled.
        family: ``"thin_plate_spline"``, ``"affine"``, ``"bspline"`` or ``"velocity"``; what these make of the drawn
            displacements is told by :func:`~monai_cellreg.transforms.deformation_family.deformation_family`.

    Raises:
        ValueError: for a negative or infinite range, or an unknown family.
    """

    rotation_deg: float = 10.0
    stretch: float = 0.08
    shift: float = 0.05
    local: float = 0.07
    least: float = 0.1
    family: str = "thin_plate_spline"

    def __post_init__(self) -> None:
        for name in ("rotation_deg", "stretch", "shift", "local", "least"):
            check_not_negative(name, getattr(self, name))
        check_choice("family", self.family, FAMILIES)


class KnownPairs:
    """Makes ``fixed(x) = moving(T(x))`` from single images; T is a map that a network can give exactly.

    T is drawn on a regular grid of control points; it is ``fixed_to_moving``, the field of a geometry head. Both images
    are read from the given one in a single interpolation. T never folds: a draw that would is scaled down. The
    parameters are drawn on the CPU, so that the same generator state gives the same pairs on every device.

    Args:
        spatial_size: size of the images.
        control_shape: control points along each axis (the paper: 5 x 5).
        deformation: what T is, a thin-plate spline unless it says otherwise, and how far it goes.
        pose: also turn, mirror, scale (up to 25 %) and shift the scene itself, the same way in both images.
        generator: source of all randomness, on the CPU.
        spacing: distance of neighbouring voxel centres, one number or one for each axis; only the ratios matter. Equal
            when omitted.

    Raises:
        ValueError: for an unknown family, too few control points, or a spacing that is not one positive number an axis.

    References:
        Deep learning for non-rigid registration of cell nuclei in temporal microscopy images, SPIE 2022, Sect. 2.3;
        there the target is drawn from the source, so that the truth in pull-back direction has no closed form.
    """

    def __init__(
        self,
        spatial_size: Sequence[int],
        control_shape: Sequence[int],
        generator: torch.Generator,
        *,
        deformation: DeformationRange | None = None,
        pose: bool = True,
        spacing: Spacing = None,
    ) -> None:
        self.deformation = deformation or DeformationRange()
        self.family = deformation_family(self.deformation.family, spatial_size, control_shape)
        self.field = self.family.field
        self.spatial_size = tuple(spatial_size)
        self._aspect = _aspect(self.spatial_size, spacing)
        self.pose = pose
        self.generator = generator

    def __call__(self, image: Tensor, label: Tensor, parameters: Tensor | None = None) -> dict[str, Tensor]:
        """Makes one pair of every image of a batch.

        Args:
            image: (B, C, *spatial_size).
            label: (B, 1, *spatial_size), 0 or 1.
            parameters: (B, ...) of the family's geometry head; drawn when omitted. Those of the thin-plate spline are
                the displacements (B, K, D) of the control points on the cube.

        Returns:
            ``fixed``, ``moving`` (B, C, *spatial_size), ``fixed_label``, ``moving_label`` (B, 1, *spatial_size), the
            true ``fixed_to_moving`` voxel field (B, D, *spatial_size) and its ``parameters``.

        Raises:
            ValueError: when image or label are of another size.
        """
        for name, given in (("image", image), ("label", label)):
            if tuple(given.shape[2:]) != self.spatial_size:
                raise ValueError(
                    f"{name} has shape {tuple(given.shape)}; expected (B, C, *{self.spatial_size}), the "
                    "spatial_size that the pairs were set up for"
                )
        self.field.to(image.device)
        parameters = (self.draw(image.shape[0]) if parameters is None else parameters).to(image.device)
        truth = self.field(parameters)
        scene = self.draw_pose(image.shape[0]).to(image.device)
        identity = torch.zeros_like(truth)
        pair = {"fixed_to_moving": truth, "parameters": parameters}
        for name, field in (("fixed", truth), ("moving", identity)):
            index = posed_index(field, scene)
            pair[name] = sample(image, index)
            pair[f"{name}_label"] = (sample(label.float(), index) > 0.5).float()
        return pair

    def draw(self, batch: int) -> Tensor:
        """Random parameters (B, ...) of the family's geometry head, on the CPU, that do not fold."""
        control = self.family.control_points
        dims, scale = control.shape[1], self.deformation
        linear = torch.matrix_exp(
            _skew(self._normal(batch, dims, dims)) * torch.pi / 180 * scale.rotation_deg
            + _symmetric(self._normal(batch, dims, dims)) * scale.stretch
        )
        linear = linear * self._aspect
        local = self._normal(batch, *control.shape) * scale.local
        shift = self._normal(batch, 1, dims) * scale.shift
        moved = control @ linear.transpose(1, 2) - control + local
        moved = moved - moved.mean(1, keepdim=True) + shift
        moved = moved * (scale.least + (1 - scale.least) * torch.rand(batch, 1, 1, generator=self.generator))
        parameters = self.family.to_parameters(moved)
        for _ in range(50):
            folded = ~(self.family.least_determinant(parameters) >= LEAST_DETERMINANT)  # also where it overflows
            if not bool(folded.any()):
                return parameters
            mask = folded.reshape(-1, *[1] * (parameters.ndim - 1))
            parameters = torch.where(mask, parameters * 0.8, parameters)
        raise ValueError(f"deformation {scale} always folds; expected a smaller range")

    def draw_pose(self, batch: int) -> Tensor:
        """Affine maps (B, D, D+1) of the cube that turn, mirror, scale and shift the scene; identities without pose."""
        dims = len(self.spatial_size)
        if not self.pose:
            return torch.eye(dims, dims + 1).expand(batch, -1, -1)
        turn = torch.matrix_exp(_skew(self._normal(batch, dims, dims)) * torch.pi) * self._aspect
        mirror = torch.where(torch.rand(batch, 1, dims, generator=self.generator) < 0.5, -1.0, 1.0)
        size = torch.exp((torch.rand(batch, 1, 1, generator=self.generator) - 0.5) * 0.45)
        shift = (torch.rand(batch, dims, 1, generator=self.generator) - 0.5) * 0.15
        return torch.cat([turn * mirror * size, shift], dim=2)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)


def posed_index(field: Tensor, scene: Tensor) -> Tensor:
    """Index coordinates (B, *spatial, D) at which the source image is read: the scene's pose after the field."""
    size = field.shape[2:]
    half = field.new_tensor([(s - 1) / 2 for s in size])
    axes = [torch.linspace(-1, 1, s, device=field.device) for s in size]
    cube = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1) + voxel_to_cube_ddf(field).movedim(1, -1)
    posed = torch.einsum("b...j,bij->b...i", cube, scene[..., :-1])
    posed = posed + scene[..., -1].reshape(-1, *([1] * len(size)), len(size))
    return (posed + 1) * half


def _aspect(spatial_size: Sequence[int], spacing: Spacing) -> Tensor:
    """Factors (D, D) that make a matrix on physical space one on the cube; ones for an image as wide as it is high."""
    half = SamplingGrid(tuple(spatial_size)).cube_to_world.diagonal()[:-1]
    extent = torch.as_tensor(half * axis_spacing(spacing, len(spatial_size)))
    return (extent / extent[:, None]).float()


def _skew(matrix: Tensor) -> Tensor:
    """Skew part, scaled so that in 2D the angle's standard deviation is that of an entry."""
    return (matrix - matrix.transpose(1, 2)) / 2**0.5


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.transpose(1, 2)) / 2
