"""Affine maps against matrices written out, and the head for networks in voxels and in physical space."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nibabel.affines import apply_affine
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation

from monai_cellreg.geometry import AffineField, AffineTransform, CompositeTransform, SamplingGrid
from monai_cellreg.geometry.affine import cube_axes, cube_points, rotation_matrix

POINTS = {2: np.array([[3.0, 5.0], [-2.0, 0.5]]), 3: np.array([[3.0, 5.0, -1.0], [-2.0, 0.5, 4.0]])}


@pytest.fixture
def matrix(spatial_dims: int, rotation: np.ndarray) -> np.ndarray:
    """Homogeneous: a turn, a stretch that does not commute with it, and a shift."""
    full = np.eye(spatial_dims + 1)
    full[:-1, :-1] = rotation @ np.diag([1.2, 0.7, 1.1][:spatial_dims])
    full[:-1, -1] = [4.0, -2.0, 9.0][:spatial_dims]
    return full


def test_quarter_turn_about_a_point() -> None:
    turn = AffineTransform(np.array([[0, -1, 30], [1, 0, 10]]))  # row, column (10, 20) stays
    np.testing.assert_array_equal(turn.points(np.array([[10.0, 20.0], [11.0, 20.0]])), [[10, 20], [10, 21]])


def test_every_form_of_matrix_gives_the_same_map(matrix: np.ndarray, spatial_dims: int) -> None:
    x = POINTS[spatial_dims]
    for form in (matrix, matrix[:-1], torch.tensor(matrix[None])):
        transform = AffineTransform(form)
        assert transform.spatial_dims == spatial_dims
        np.testing.assert_allclose(transform.points(x), apply_affine(matrix, x), rtol=0, atol=1e-12)


def test_inverse_is_the_inverse_matrix(matrix: np.ndarray) -> None:
    inverse = AffineTransform(np.stack([matrix, 2 * matrix])).inverse()
    assert isinstance(inverse, AffineTransform)
    expected = np.stack([np.linalg.inv(m)[:-1] for m in (matrix, np.diag([2] * (len(matrix) - 1) + [1]) @ matrix)])
    np.testing.assert_allclose(inverse.matrix, expected, rtol=0, atol=1e-12)


def test_chain_of_affine_maps_is_one_affine_map(matrix: np.ndarray) -> None:
    other = np.eye(len(matrix))
    other[0, 1], other[1, -1] = 0.5, -3.0
    chain = AffineTransform(matrix).then(AffineTransform(other))
    assert isinstance(chain, AffineTransform)
    np.testing.assert_allclose(chain.matrix[0], (other @ matrix)[:-1], rtol=0, atol=1e-12)
    assert not isinstance(chain.then(AffineTransform(np.stack([matrix, other]))), CompositeTransform)


@pytest.mark.parametrize("shape", [(2, 2), (3, 5), (4, 3), (5, 5), (1, 2, 2, 3), (3,)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^matrix has shape [\dx]+; expected \(D, D\+1\), \(D\+1, D\+1\) or a batch"):
        AffineTransform(np.zeros(shape))


def test_singular_map_has_no_inverse() -> None:
    with pytest.raises(ValueError, match=r"^matrix \[\[\[1\.0, 2\.0, 0\.0\], .* is singular; expected an invertible"):
        AffineTransform(np.array([[1, 2, 0], [2, 4, 0]])).inverse()


VECTORS = np.array([[0.3, -0.5, 0.9], [0.0, 0.0, 0.0], [0.0, np.pi, 0.0], [-4.0, 1.0, 2.0], [1e-9, 0.0, -2e-9]])


def test_rotation_is_that_of_scipy() -> None:
    expected = Rotation.from_rotvec(VECTORS).as_matrix()
    np.testing.assert_allclose(rotation_matrix(torch.tensor(VECTORS)), expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(rotation_matrix([0.3, -0.5, 0.9])[0], expected[0], rtol=0, atol=1e-14)
    about_third = Rotation.from_rotvec([[0, 0, 0.7], [0, 0, -2.0]]).as_matrix()[:, :2, :2]
    np.testing.assert_allclose(rotation_matrix(np.array([[0.7], [-2.0]])), about_third, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(rotation_matrix(0.7), rotation_matrix([0.7]))
    assert bool((rotation_matrix(torch.zeros(1, 3)) == torch.eye(3)).all())


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("factor", [0.0, 1.0])
def test_rotation_has_gradients_also_at_zero(size: int, factor: float) -> None:
    vector = (factor * torch.tensor([[0.4, -1.0, 0.2]], dtype=torch.float64)[:, :size]).requires_grad_()
    assert torch.autograd.gradcheck(rotation_matrix, vector)
    assert torch.autograd.gradgradcheck(rotation_matrix, vector)


@pytest.mark.parametrize("shape", [(2,), (5, 2), (4,), (2, 3, 3)])
def test_rotation_of_another_size_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"^rotation_rad has shape [\dx]+; expected one angle \(B, 1\) in 2D or a rota"
    ):
        rotation_matrix(np.zeros(shape))


def test_quarter_turn_takes_the_first_axis_to_the_second() -> None:
    turn = AffineTransform.rigid(np.pi / 2, centre=[10, 20], shift=[0.0, 5.0])
    np.testing.assert_allclose(turn.points(np.array([[10.0, 20], [11, 20]])), [[10, 25], [10, 26]], rtol=0, atol=1e-14)


def test_translation_rigid_and_similarity(spatial_dims: int) -> None:
    x, centre, shift = POINTS[spatial_dims], np.array([9.0, -4.0, 2.0]), np.array([1.0, 2.0, -3.0])
    centre, shift = centre[:spatial_dims], shift[:spatial_dims]
    vector = np.array([0.3]) if spatial_dims == 2 else VECTORS[0]
    turn = Rotation.from_rotvec(VECTORS[0] if spatial_dims == 3 else [0, 0, 0.3]).as_matrix()[
        :spatial_dims, :spatial_dims
    ]
    rigid = (x - centre) @ turn.T + centre + shift
    for transform, expected in (
        (AffineTransform.translation(shift), x + shift),
        (AffineTransform.rigid(vector), x @ turn.T),
        (AffineTransform.rigid(vector, shift=shift, centre=centre), rigid),
        (AffineTransform.similarity(vector, 1.5), 1.5 * x @ turn.T),
        (AffineTransform.similarity(vector, 0.5, shift=shift, centre=centre), (rigid + centre + shift) / 2),
    ):
        np.testing.assert_allclose(transform.points(x), expected, rtol=0, atol=1e-13)


def test_batches_of_rotations_scales_shifts_and_centres(spatial_dims: int) -> None:
    x = POINTS[spatial_dims]
    rotation = torch.linspace(-1, 1, 9).double().reshape(3, 3)[:, : 1 if spatial_dims == 2 else 3]
    scale, shift, centre = torch.tensor([0.5, 1.0, 3.0]), torch.rand(3, spatial_dims), torch.rand(3, spatial_dims)
    batch = AffineTransform.similarity(rotation, scale, shift=shift, centre=centre).points(x)
    centres = AffineTransform.rigid(rotation[0], centre=centre).points(x)
    for row in range(3):
        single = AffineTransform.similarity(rotation[row], float(scale[row]), shift=shift[row], centre=centre[row])
        np.testing.assert_allclose(batch[row], single.points(x), rtol=0, atol=1e-13)
        np.testing.assert_allclose(centres[row], AffineTransform.rigid(rotation[0], centre=centre[row]).points(x))
    assert AffineTransform.translation(shift).points(x).shape == (3, 2, spatial_dims)


def test_gradients_of_rotation_scale_shift_and_centre(spatial_dims: int) -> None:
    turns = 1 if spatial_dims == 2 else 3
    given = [torch.zeros(turns), torch.tensor(1.2), torch.zeros(spatial_dims), torch.ones(spatial_dims)]
    x = torch.tensor(POINTS[spatial_dims])
    assert torch.autograd.gradcheck(
        lambda r, s, t, c: AffineTransform.similarity(r, s, shift=t, centre=c).points(x),
        [g.double().requires_grad_() for g in given],
    )


@pytest.mark.parametrize("scale", [0.0, -1.0, [1.0, float("nan")]])
def test_scale_is_positive(scale: float | list[float]) -> None:
    with pytest.raises(ValueError, match=r"^scale is \[.*\], expected finite numbers above 0"):
        AffineTransform.similarity(0.1, scale)


def test_cube_points_are_those_of_the_grid(spatial_dims: int) -> None:
    shape = (4, 1, 3)[:spatial_dims]
    grid = SamplingGrid(shape)
    expected = apply_affine(np.linalg.inv(grid.cube_to_world), grid.index().reshape(-1, spatial_dims))
    np.testing.assert_allclose(cube_points(shape), expected, rtol=0, atol=1e-15)
    assert [x.tolist() for x in cube_axes((3, 1))] == [[-1, 0, 1], [0]]


SHAPES_OF = {  # of parameters in 2D and 3D
    "translation": ((2,), (3,)),
    "rigid": ((3,), (6,)),
    "similarity": ((4,), (7,)),
    "affine": ((2, 3), (3, 4)),
}


def test_every_kind_of_field_shifts_alike(spatial_dims: int) -> None:
    size, shift = (5, 11, 8)[:spatial_dims], torch.tensor([0.5, -0.25, 1.0])[:spatial_dims]
    half = torch.tensor([(s - 1) / 2 for s in size])
    expected = (shift * half).reshape(1, -1, *[1] * spatial_dims).expand(1, spatial_dims, *size)
    for kind, shapes in SHAPES_OF.items():
        parameters = torch.zeros(1, *shapes[spatial_dims - 2])
        shifts = parameters[0, :, -1] if kind == "affine" else parameters[0, -spatial_dims:]
        shifts.copy_(shift)
        torch.testing.assert_close(AffineField(size, kind=kind)(parameters), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("kind", "scale"), [("rigid", 1.0), ("similarity", 1.3)])
@pytest.mark.parametrize("spacing", [None, (0.5, 1.7, 3.0)])
def test_rigid_field_keeps_distances(
    spatial_dims: int, kind: str, scale: float, spacing: tuple[float, ...] | None
) -> None:
    size = (5, 11, 8)[:spatial_dims]
    mm = np.array((spacing or (1.0, 1.0, 1.0))[:spatial_dims])
    head = AffineField(size, kind=kind, spacing=None if spacing is None else tuple(10 * mm))  # ratios alone matter
    vector, shift = [0.6] if spatial_dims == 2 else [0.5, -0.4, 0.8], [0.1, -0.2, 0.3][:spatial_dims]
    log_scale = [np.log(scale)] if kind == "similarity" else []
    field = head(torch.tensor([[*vector, *log_scale, *shift]]))[0]
    index = SamplingGrid(size).index().numpy().reshape(-1, spatial_dims)
    centre, half = (np.array(size) - 1) / 2 * mm, (np.array(size) - 1) / 2
    moved = (index + field.flatten(1).T.numpy()) * mm
    np.testing.assert_allclose(pdist(moved), scale * pdist(index * mm), rtol=1e-5)
    turn = Rotation.from_rotvec(vector if spatial_dims == 3 else [0, 0, *vector]).as_matrix()
    expected = scale * (index * mm - centre) @ turn[:spatial_dims, :spatial_dims].T + centre + shift * half * mm
    np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-4)


def test_field_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^kind is 'rigd', expected one of .*; did you mean 'rigid'\?"):
        AffineField((6, 9), kind="rigd")
    with pytest.raises(ValueError, match=r"^spacing is \(1.0, 0.0\), expected finite numbers above 0"):
        AffineField((6, 9), spacing=(1.0, 0.0))
    with pytest.raises(ValueError, match=r"^spacing is \(1.0,\) for 2 axes, expected one number, or one for each"):
        AffineField((6, 9), spacing=(1.0,))
    with pytest.raises(
        ValueError, match=r"^parameters has shape 1x4; expected \(B, 3\), .* of a field of kind 'rigid'"
    ):
        AffineField((6, 9), kind="rigid")(torch.zeros(1, 4))
    with pytest.raises(ValueError, match=r"^parameters has shape 2x3; expected \(B, 2, 3\), .* of kind 'affine'"):
        AffineField((6, 9)).transform(torch.zeros(2, 3))


def test_field_counts_voxels_along_tensor_axes() -> None:
    parameters = torch.zeros(1, 2, 3)
    parameters[0, :, 2] = torch.tensor([2 / 5, -2 / 8])  # of a cube two wide, over 5 rows and 8 columns between centres
    field = AffineField((6, 9))(parameters)
    torch.testing.assert_close(field, torch.tensor([1.0, -1.0]).reshape(1, 2, 1, 1).expand(1, 2, 6, 9))


def test_centre_of_another_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match="centre has 3 components but rotation_rad turns 2 axes; expected"):
        AffineTransform.rigid(0.1, centre=[1.0, 2.0, 3.0])
