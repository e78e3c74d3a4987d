"""Maps exchanged with ITK warp images as ITK warps them, and files say what is wrong with them.

The oracle knows nothing of our grids: an ITK image lies by ITK's own origin, spacing and direction, and where its
voxels are is asked of ITK, point by point.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from monai_cellreg.geometry import (
    AffineTransform,
    DenseTransform,
    SamplingGrid,
    SpatialTransform,
    ThinPlateSplineTransform,
    read_transform,
    resample,
    write_transform,
)
from monai_cellreg.geometry.itk import from_itk, to_itk

FRAMES = ["index", "RAS"]
SUFFIXES = [".h5", ".tfm", ".txt", ".nii.gz", ".mha"]


def from_itk_points(points: np.ndarray, frame: str) -> np.ndarray:
    """ITK's physical points as world points, and back."""
    return points[..., ::-1] if frame == "index" else points * [-1, -1, 1][: points.shape[-1]]


def from_itk_array(array: np.ndarray, frame: str) -> np.ndarray:
    """A SimpleITK array (z, y, x) in the order of the tensor axes."""
    return array if frame == "index" else array.T


def itk_image(size: tuple[int, ...], spacing: tuple[float, ...], angle_rad: float, *, seed: int = 0) -> sitk.Image:
    """Smooth noise that is turned, and mirrored along its first axis."""
    dims = len(size)
    image = sitk.GetImageFromArray(np.random.default_rng(seed).uniform(size=size[::-1]))
    turn = sitk.Euler2DTransform() if dims == 2 else sitk.Euler3DTransform()
    turn.SetParameters([angle_rad, 0, 0] if dims == 2 else [angle_rad, 0.2, -0.3, 0, 0, 0])
    direction = np.reshape(turn.GetMatrix(), (dims, dims)) @ np.diag([-1.0, 1, 1][:dims])
    image = sitk.Cast(sitk.SmoothingRecursiveGaussian(image, 1.0), sitk.sitkFloat64)
    image.SetSpacing(spacing)
    image.SetDirection(direction.ravel().tolist())
    centre = image.TransformContinuousIndexToPhysicalPoint([(s - 1) / 2 for s in size])
    image.SetOrigin((np.array([40.0, -15.0, 8.0][:dims]) - centre).tolist())  # all are centred on one point
    return image


def images(dims: int) -> tuple[sitk.Image, sitk.Image]:
    """Fixed and moving, of different size, spacing and direction; the moving one reaches further."""
    fixed = itk_image((17, 12, 9)[:dims], (1.1, 1.6, 1.9)[:dims], 0.3)
    return fixed, itk_image((34, 41, 37)[:dims], (0.9, 0.8, 1.0)[:dims], -0.4, seed=1)


def grid_of(image: sitk.Image, frame: str) -> SamplingGrid:
    """Where ITK says that the voxels are."""
    dims = image.GetDimension()
    corners = np.vstack([np.zeros(dims), np.eye(dims)]).astype(int)
    physical = np.array([image.TransformIndexToPhysicalPoint(corner.tolist()) for corner in corners])
    world = from_itk_points(physical, frame)
    steps = (world[1:] - world[0]).T
    affine = np.eye(dims + 1)
    affine[:-1, :-1] = steps[:, ::-1] if frame == "index" else steps
    affine[:-1, -1] = world[0]
    return SamplingGrid(from_itk_array(sitk.GetArrayViewFromImage(image), frame).shape, affine, frame)


def affine(grid: SamplingGrid) -> SpatialTransform:
    """Not symmetric, so that a transposed matrix shows."""
    dims = grid.spatial_dims
    linear = np.eye(dims) + 0.1 * np.random.default_rng(3).normal(size=(dims, dims))
    centre = grid.world().flatten(0, -2).mean(0).numpy()
    return AffineTransform(np.column_stack([linear, centre - linear @ centre + [1.5, -0.7, 0.4][:dims]]))


def spline(grid: SamplingGrid, *, batch: int = 1) -> SpatialTransform:
    control = grid.resized((3,) * grid.spatial_dims).world().flatten(0, -2)
    shifts = np.random.default_rng(4).uniform(-1.5, 1.5, (batch, *control.shape))
    return ThinPlateSplineTransform(control, control + torch.tensor(shifts))


def chain(grid: SamplingGrid) -> SpatialTransform:
    return spline(grid).then(affine(grid))


def points_in(grid: SamplingGrid) -> np.ndarray:
    """World points at least one voxel inside a grid."""
    index = np.random.default_rng(5).uniform(1, np.array(grid.shape) - 2, (40, grid.spatial_dims))
    return grid.index_to_world(torch.tensor(index)).numpy()


def itk_points(transform: sitk.Transform, points: np.ndarray, frame: str) -> np.ndarray:
    """World points moved by ITK."""
    moved = [transform.TransformPoint(p.tolist()) for p in from_itk_points(points, frame)]
    return from_itk_points(np.array(moved), frame)


def read_by_itk(path: Path) -> sitk.Transform:
    if path.name.endswith((".nii.gz", ".mha")):
        return sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    return sitk.ReadTransform(str(path))


@pytest.fixture(params=FRAMES)
def frame(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("make", [affine, spline, chain])
def test_itk_warps_with_the_file_as_we_warp(
    tmp_path: Path, spatial_dims: int, frame: str, make: Callable[[SamplingGrid], SpatialTransform], suffix: str
) -> None:
    fixed, moving = images(spatial_dims)
    fixed_grid, moving_grid = grid_of(fixed, frame), grid_of(moving, frame)
    transform, path = make(fixed_grid), tmp_path / f"map{suffix}"
    write_transform(path, transform, fixed_grid)

    tensor = torch.tensor(from_itk_array(sitk.GetArrayFromImage(moving), frame).copy())[None, None]
    ours = resample(tensor, transform, fixed_grid, moving_grid)[0, 0].numpy()
    seen = resample(torch.ones_like(tensor), transform, fixed_grid, moving_grid, padding="zeros")[0, 0].numpy() > 0.999
    assert seen.mean() > 0.9
    assert np.abs(ours - from_itk_array(sitk.GetArrayFromImage(fixed), frame)).max() > 0.1

    theirs = sitk.Resample(moving, fixed, read_by_itk(path), sitk.sitkLinear, 0.0)
    error = np.abs(ours - from_itk_array(sitk.GetArrayFromImage(theirs), frame))[seen].max()
    assert error < 1e-6  # NIfTI keeps its geometry in float32

    again = read_transform(path, frame)
    x = fixed_grid.world().flatten(0, -2).numpy()
    np.testing.assert_allclose(again.points(x), transform.points(x), rtol=0, atol=1e-5)
    if suffix in (".nii.gz", ".mha") or make is not affine:
        assert isinstance(again, DenseTransform)
        assert again.grid.matches(fixed_grid)
    else:
        np.testing.assert_allclose(again.matrix, transform.matrix, rtol=0, atol=1e-13)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_pixels_of_a_plain_picture_are_x_right_y_down(tmp_path: Path) -> None:
    grid = SamplingGrid((20, 30))
    write_transform(tmp_path / "t.tfm", AffineTransform(np.array([[1, 0, 5], [0, 1, -2]])), grid)  # 5 rows, -2 columns
    assert sitk.ReadTransform(str(tmp_path / "t.tfm")).TransformPoint((10, 0)) == (8, 5)


def test_anatomical_points_are_negated_along_the_first_two_axes(tmp_path: Path) -> None:
    grid = SamplingGrid((4, 5, 6), frame="RAS")
    write_transform(tmp_path / "t.tfm", AffineTransform(np.hstack([np.eye(3), [[1], [2], [3]]])), grid)
    assert sitk.ReadTransform(str(tmp_path / "t.tfm")).TransformPoint((0, 0, 0)) == (-1, -2, 3)


def similarity(dims: int) -> sitk.Transform:
    transform = sitk.Similarity2DTransform() if dims == 2 else sitk.Similarity3DTransform()
    transform.SetParameters([1.2, 0.3, 2, -1] if dims == 2 else [0.1, -0.2, 0.15, 2, -1, 3, 1.2])
    transform.SetCenter([10.0, -4, 6][:dims])
    return transform


def euler(dims: int) -> sitk.Transform:
    centre = [10.0, -4, 6][:dims]
    return sitk.Euler2DTransform(centre, 0.4, (1, 2)) if dims == 2 else sitk.Euler3DTransform(centre, 0.4, 0.1, -0.2)


def shear(dims: int) -> sitk.Transform:
    transform = sitk.AffineTransform(dims)
    transform.Shear(0, 1, 0.3)
    transform.SetCenter([5.0, 6, 7][:dims])
    return transform


def field(dims: int) -> sitk.Transform:
    """A displacement field of its own size and place, over all points that are asked for."""
    image = itk_image((25, 27, 28)[:dims], (2.2, 2.1, 2.3)[:dims], 0.7)
    noise = [sitk.SmoothingRecursiveGaussian(image + 0.1 * n, 4.0) * (3 + n) for n in range(dims)]
    return sitk.DisplacementFieldTransform(sitk.Cast(sitk.Compose(noise), sitk.sitkVectorFloat64))


LINEAR = {
    "identity": lambda dims: sitk.Transform(dims, sitk.sitkIdentity),
    "translation": lambda dims: sitk.TranslationTransform(dims, [1.5, -2, 3][:dims]),
    "scale": lambda dims: sitk.ScaleTransform(dims, [1.5, 0.8, 0.6][:dims]),
    "euler": euler,
    "similarity": similarity,
    "affine": shear,
    "composite of affine": lambda dims: sitk.CompositeTransform([euler(dims), shear(dims)]),
    "empty composite": sitk.CompositeTransform,
}
BENT = {
    "field": field,
    "composite": lambda dims: sitk.CompositeTransform([shear(dims), field(dims), euler(dims)]),
    "nested": lambda dims: sitk.CompositeTransform([euler(dims), sitk.CompositeTransform([field(dims), shear(dims)])]),
}


@pytest.mark.parametrize("kind", [*LINEAR, *BENT])
def test_transforms_of_itk_move_points_alike(tmp_path: Path, spatial_dims: int, frame: str, kind: str) -> None:
    transform = {**LINEAR, **BENT}[kind](spatial_dims)
    before = transform.GetParameters()
    x = points_in(grid_of(images(spatial_dims)[0], frame))
    ours = from_itk(transform, frame)
    assert isinstance(ours, AffineTransform) == (kind in LINEAR)
    np.testing.assert_allclose(ours.points(x), itk_points(transform, x, frame), rtol=0, atol=1e-9)
    assert transform.GetParameters() == before
    if "composite" not in kind and kind != "nested":
        sitk.WriteTransform(transform, str(tmp_path / "t.h5"))
        np.testing.assert_allclose(read_transform(tmp_path / "t.h5", frame).points(x), ours.points(x), atol=1e-12)


def test_field_of_float32_vectors_is_read(tmp_path: Path, spatial_dims: int, frame: str) -> None:
    vectors = field(spatial_dims).Downcast().GetDisplacementField()
    sitk.WriteImage(sitk.Cast(vectors, sitk.sitkVectorFloat32), str(tmp_path / "warp.nii.gz"))
    x = points_in(grid_of(images(spatial_dims)[0], frame))
    expected = itk_points(field(spatial_dims), x, frame)
    np.testing.assert_allclose(read_transform(tmp_path / "warp.nii.gz", frame).points(x), expected, rtol=0, atol=1e-4)


def test_one_map_of_a_batch_is_chosen(tmp_path: Path) -> None:
    grid = SamplingGrid((6, 8), frame="RAS")
    pair = AffineTransform(np.array([[[1, 0, 1], [0, 1, 0]], [[1, 0, 2], [0, 1, 0]]]))
    bent = spline(grid, batch=2)
    x = points_in(grid)
    for transform in (pair, bent):
        moved = [
            itk_points(to_itk(transform, grid, index=row), grid.world().flatten(0, -2).numpy(), "RAS") for row in (0, 1)
        ]
        np.testing.assert_allclose(moved, transform.points(grid.world().flatten(0, -2)), rtol=0, atol=1e-9)
        write_transform(tmp_path / "second.h5", transform, grid, index=1)
        again = read_transform(tmp_path / "second.h5", "RAS").points(x)
        assert np.abs(again - transform.points(x)[1]).max() < np.abs(again - transform.points(x)[0]).max()
        with pytest.raises(ValueError, match="^index is 2 but the transform holds 2 maps, counted from 0"):
            to_itk(transform, grid, index=2)


# --- what cannot be written -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["map.nii", "map.json", "map", "h5"])
def test_unknown_suffix_is_refused(tmp_path: Path, name: str) -> None:
    grid = SamplingGrid((6, 8))
    message = (
        rf"^transform file .*{name} has an unknown suffix; expected \.h5, \.tfm, \.txt for a transform, or \.nii\.gz"
    )
    with pytest.raises(ValueError, match=message):
        write_transform(tmp_path / name, affine(grid), grid)
    with pytest.raises(ValueError, match=message):
        read_transform(tmp_path / name, "index")


def test_map_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    grid = SamplingGrid((6, 8))
    sheared = SamplingGrid((6, 8), np.array([[1, 0.3, 0], [0, 1, 0], [0, 0, 1]]))
    flat = SamplingGrid((1, 8, 9))
    nowhere = DenseTransform(torch.full((1, 2, 6, 8), torch.nan), grid)
    folded = DenseTransform(-grid.world().movedim(-1, 0)[None], grid).inverse()
    cases: list[tuple[str, SpatialTransform, SamplingGrid, str]] = [
        (
            "t.h5",
            spline(grid),
            sheared,
            r"^grid is sheared .* expected axes at right angles, .* Give a grid without shear",
        ),
        ("t.mha", affine(grid), sheared, "^grid is sheared"),
        ("t.h5", nowhere, grid, "^transform holds 96 of 96 values that are NaN or infinite"),
        ("t.tfm", AffineTransform(np.full((2, 3), np.inf)), grid, "^transform holds 6 of 6 values that are NaN"),
        ("t.h5", folded, grid, "^transform has no inverse at"),
        ("t.h5", affine(flat), grid, r"^grid has 2 spatial axes \(shape 6x8\), expected 3"),
        ("t.mha", affine(flat), grid, r"^grid has 2 spatial axes \(shape 6x8\), expected 3"),
        ("t.nii.gz", affine(flat), flat, r"cannot hold a grid of shape 1x8x9, since NIfTI drops .* Use \.mha$"),
    ]
    for name, transform, on, message in cases:
        (tmp_path / name).write_text("old")
        with pytest.raises(ValueError, match=message):
            write_transform(tmp_path / name, transform, on)
        assert (tmp_path / name).read_text() == "old"
    assert len(list(tmp_path.iterdir())) == len({name for name, *_ in cases})
    write_transform(tmp_path / "t.h5", affine(sheared), sheared)
    write_transform(tmp_path / "t.mha", affine(flat), flat)
    assert read_transform(tmp_path / "t.mha", "index").grid.shape == (1, 8, 9)


# --- what cannot be read --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_file_is_named(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(
        FileNotFoundError, match=rf"^transform file .*none{suffix} does not exist; expected a file that"
    ):
        read_transform(tmp_path / f"none{suffix}", "index")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "content", [b"", b"hello\n", b'(Transform "EulerTransform")\n'], ids=["empty", "text", "elastix"]
)
def test_foreign_file_is_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"map{suffix}"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"^transform file .*map{suffix} is damaged or foreign; expected .* Write it ag"
    ):
        read_transform(path, "index")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cut_file_is_named(tmp_path: Path, suffix: str) -> None:
    grid, path = SamplingGrid((16, 18)), tmp_path / f"map{suffix}"
    write_transform(path, spline(grid), grid)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(ValueError, match=rf"^transform file .*map{suffix} is damaged or foreign; expected"):
        read_transform(path, "index")


def test_no_cut_of_a_text_is_read_as_another_map(tmp_path: Path) -> None:
    grid, path = SamplingGrid((6, 8)), tmp_path / "map.tfm"
    write_transform(path, affine(grid), grid)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"map\.tfm is damaged or foreign; expected an ITK transform"):
            read_transform(path, "index")
    path.write_bytes(whole.replace(b"\n", b"\r\n"))
    np.testing.assert_allclose(read_transform(path, "index").matrix, affine(grid).matrix, rtol=0, atol=1e-13)


def test_field_beside_an_unpacked_one_is_the_one_that_is_read(tmp_path: Path) -> None:
    grid = SamplingGrid((6, 8))
    write_transform(tmp_path / "map.nii.gz", affine(grid), grid)
    sitk.WriteImage(sitk.Image([8, 6], sitk.sitkVectorFloat64, 2), str(tmp_path / "map.nii"))
    x = points_in(grid)
    np.testing.assert_allclose(read_transform(tmp_path / "map.nii.gz", "index").points(x), affine(grid).points(x))


def test_image_without_vectors_is_refused(tmp_path: Path) -> None:
    for suffix in (".nii.gz", ".mha"):
        sitk.WriteImage(sitk.Image([8, 6, 5], sitk.sitkFloat32), str(tmp_path / f"cells{suffix}"))
        with pytest.raises(
            ValueError, match=rf"cells{suffix} cannot be used: image has size 8x6x5 with 1 values a voxel; expected"
        ):
            read_transform(tmp_path / f"cells{suffix}", "RAS")


def test_other_kinds_of_transform_are_named(tmp_path: Path) -> None:
    bspline = sitk.BSplineTransform(2)
    message = (
        r"transform is an ITK BSplineTransform; expected an affine kind, .* SimpleITK\.TransformToDisplacementField"
    )
    for transform in (bspline, sitk.CompositeTransform([bspline, sitk.Euler2DTransform()])):
        with pytest.raises(ValueError, match="^" + message):
            from_itk(transform, "index")
    sitk.WriteTransform(bspline, str(tmp_path / "b.tfm"))
    with pytest.raises(ValueError, match=r"^transform file .*b\.tfm cannot be used: " + message):
        read_transform(tmp_path / "b.tfm", "index")


def test_field_without_voxels_is_refused() -> None:
    with pytest.raises(ValueError, match="^image has size 0x0 with 2 values a voxel; expected displacement vectors"):
        from_itk(sitk.DisplacementFieldTransform(2), "index")


def test_unknown_frame_is_refused(tmp_path: Path) -> None:
    for ask in (lambda: from_itk(sitk.Euler2DTransform(), "LPS"), lambda: read_transform(tmp_path / "t.h5", "LPS")):
        with pytest.raises(ValueError, match="^frame is 'LPS', expected one of 'index', 'RAS'"):
            ask()
