"""Files that others open: SimpleITK warps with them as we warp, and their damage is told."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import SimpleITK as sitk
import tifffile
import torch
from monai.data import ITKReader, MetaTensor, NibabelReader
from monai.transforms import LoadImage

from monai_cellreg.data import read_image
from monai_cellreg.geometry import (
    AffineTransform,
    BSplineTransform,
    DenseTransform,
    InverseTransform,
    RadialBasisTransform,
    SamplingGrid,
    SpatialTransform,
    ThinPlateSplineTransform,
    VelocityTransform,
    control_lattice,
    read_transform,
    resample,
    to_itk,
    write_transform,
)

pytestmark = pytest.mark.filterwarnings("ignore:builtin type [sS]wig:DeprecationWarning")  # of how itk was built
Physical = Any
Images = tuple[sitk.Image, sitk.Image]
TRANSFORMS = [".h5", ".tfm", ".txt"]
FIELDS = [".nii.gz", ".nii", ".mha", ".nrrd"]


def affine(grid: SamplingGrid) -> SpatialTransform:
    """Not symmetric, so that a transposed matrix shows."""
    dims = grid.spatial_dims
    linear = np.eye(dims) + 0.1 * np.random.default_rng(3).normal(size=(dims, dims))
    centre = grid.world().flatten(0, -2).mean(0).numpy()
    return AffineTransform(np.column_stack([linear, centre - linear @ centre + [1.5, -0.7, 0.4][:dims]]))


def shifts(*shape: int) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(4).uniform(-1.5, 1.5, shape))


def thin_plate(grid: SamplingGrid) -> SpatialTransform:
    control = grid.resized((3,) * grid.spatial_dims).world().flatten(0, -2)
    return ThinPlateSplineTransform(control, control + shifts(*control.shape))


def radial_basis(grid: SamplingGrid) -> SpatialTransform:
    control = grid.resized((3,) * grid.spatial_dims).world().flatten(0, -2)
    return RadialBasisTransform(control, shifts(*control.shape), sigma=6.0)


def bspline(order: int) -> Callable[[SamplingGrid], SpatialTransform]:
    def made(grid: SamplingGrid) -> SpatialTransform:
        lattice = control_lattice(grid, control_spacing=4, order=order)
        return BSplineTransform(shifts(1, grid.spatial_dims, *lattice.shape), lattice, order=order)

    return made


def dense(grid: SamplingGrid) -> DenseTransform:
    """On a grid of its own, half as fine."""
    own = grid.resized([n // 2 + 1 for n in grid.shape])
    return DenseTransform(shifts(1, grid.spatial_dims, *own.shape).float(), own)


def velocity(grid: SamplingGrid) -> SpatialTransform:
    field = dense(grid)
    return VelocityTransform(field.field, field.grid)


FAMILIES: dict[str, Callable[[SamplingGrid], SpatialTransform]] = {
    "affine": affine,
    "thin-plate": thin_plate,
    "radial basis": radial_basis,
    "linear spline": bspline(1),
    "cubic spline": bspline(3),
    "dense": dense,
    "velocity": velocity,
    "numerical inverse": lambda grid: InverseTransform(affine(grid)),
    "chain": lambda grid: dense(grid).then(affine(grid)),
    "sampled chain": lambda grid: affine(grid).then(thin_plate(grid)).then(affine(grid)),
}


def read_by_itk(path: Path) -> sitk.Transform:
    if path.name.endswith(tuple(FIELDS)):
        return sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    return sitk.ReadTransform(str(path))


@pytest.mark.parametrize("family", FAMILIES)
def test_itk_warps_with_the_file_as_we_warp(
    tmp_path: Path, physical: Physical, itk_images: Images, family: str
) -> None:
    fixed, moving = itk_images
    fixed_grid, moving_grid = (physical.grid(image) for image in itk_images)
    transform, x = FAMILIES[family](fixed_grid), fixed_grid.world().flatten(0, -2).numpy()
    tensor = torch.tensor(physical.array(sitk.GetArrayFromImage(moving)).copy())[None, None]
    ours, mapped = resample(tensor, transform, fixed_grid, moving_grid)[0, 0].numpy(), transform.points(x)
    seen = resample(torch.ones_like(tensor), transform, fixed_grid, moving_grid, padding="zeros")[0, 0].numpy() > 0.999
    assert seen.mean() > 0.85
    assert np.abs(ours - physical.array(sitk.GetArrayFromImage(fixed))).max() > 0.1

    for suffix in [*TRANSFORMS, *FIELDS]:
        path = tmp_path / f"map{suffix}"
        write_transform(path, transform, fixed_grid)
        theirs = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, read_by_itk(path), sitk.sitkLinear))
        assert np.abs(ours - physical.array(theirs))[seen].max() < 1e-5, suffix
        again = read_transform(path, physical.frame)
        np.testing.assert_allclose(again.points(x), mapped, rtol=0, atol=1e-5, err_msg=suffix)
        if suffix in FIELDS:
            assert isinstance(again, DenseTransform)
            assert again.grid.matches(fixed_grid)
    assert len(list(tmp_path.iterdir())) == len([*TRANSFORMS, *FIELDS])


@pytest.mark.parametrize("suffix", TRANSFORMS)
def test_parameters_survive_a_file(tmp_path: Path, physical: Physical, itk_images: Images, suffix: str) -> None:
    grid = physical.grid(itk_images[0])
    first, second = affine(grid), dense(grid)
    write_transform(tmp_path / f"map{suffix}", first.then(bspline(2)(grid)).then(second), grid)
    parts = read_transform(tmp_path / f"map{suffix}", physical.frame).transforms
    np.testing.assert_allclose(parts[0].matrix, first.matrix, rtol=0, atol=1e-12)
    assert parts[1].order == 2
    np.testing.assert_allclose(parts[2].field, second.field, rtol=0, atol=1e-12)
    assert parts[2].grid.matches(second.grid)


def test_one_map_of_a_batch_is_written(tmp_path: Path) -> None:
    grid = SamplingGrid((6, 8), frame="RAS")
    both = AffineTransform(np.array([[[1, 0, 1], [0, 1, 0]], [[1, 0, 2], [0, 1, 0]]]))
    x = grid.world().flatten(0, -2)
    for name in ("second.h5", "second.mha"):
        write_transform(tmp_path / name, both, grid, index=1)
        torch.testing.assert_close(read_transform(tmp_path / name, "RAS").points(x), both.points(x)[1])


# --- files of others ------------------------------------------------------------------------------------------------


def voxel_points(image: MetaTensor, stored: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
    """World points of some voxels as the reader's grid says, and ITK's physical points of the same voxels."""
    grid, values = SamplingGrid.from_image(image), sitk.GetArrayFromImage(stored)
    spots = np.random.default_rng(0).integers(0, grid.shape, (30, grid.spatial_dims))
    data = image.numpy()[0]
    index = [np.argwhere(values == data[tuple(spot)])[0][::-1].tolist() for spot in spots]  # all values differ
    physical = [stored.TransformIndexToPhysicalPoint(i) for i in index]
    return grid.index_to_world(torch.tensor(spots, dtype=torch.float64)).numpy(), np.array(physical)


@pytest.mark.parametrize("name", ["cells.nii.gz", "cells.mha", "cells.tif"])
def test_points_do_not_depend_on_the_reader_of_the_image(tmp_path: Path, spatial_dims: int, name: str) -> None:
    shape = (5, 12, 17)[-spatial_dims:]
    values = np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)
    turn = sitk.AffineTransform(spatial_dims)
    turn.Rotate(0, 1, 0.3)
    turn.Translate([3.0, -2, 1][:spatial_dims])
    sitk.WriteTransform(turn, str(tmp_path / "t.tfm"))
    path = tmp_path / name
    if name == "cells.tif":
        if spatial_dims == 3:
            pytest.skip("a TIFF here is a picture")
        tifffile.imwrite(path, values)
        readers = [read_image, LoadImage(reader=ITKReader, ensure_channel_first=True)]
    else:
        stored = sitk.GetImageFromArray(values)
        stored.SetSpacing((0.7, 1.1, 1.9)[:spatial_dims])
        stored.SetOrigin((20.0, -9, 4)[:spatial_dims])
        direction = [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, -1]]
        stored.SetDirection(np.array(direction)[:spatial_dims, :spatial_dims].ravel().tolist())
        sitk.WriteImage(stored, str(path))
        readers = [LoadImage(reader=ITKReader, ensure_channel_first=True)]
        if name == "cells.nii.gz":
            readers += [read_image, LoadImage(reader=NibabelReader, ensure_channel_first=True)]
    for read in readers:
        image = read(path)
        world, theirs = voxel_points(image, sitk.ReadImage(str(path)))
        frame = SamplingGrid.from_image(image).frame
        moved = np.array([turn.TransformPoint(p.tolist()) for p in theirs])
        ours = read_transform(tmp_path / "t.tfm", frame).points(world)
        expected = moved[:, ::-1] if frame == "index" else moved * [-1, -1, 1][:spatial_dims]
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)  # NIfTI keeps its geometry in float32
        write_transform(
            tmp_path / "again.tfm", read_transform(tmp_path / "t.tfm", frame), SamplingGrid.from_image(image)
        )
        again = sitk.ReadTransform(str(tmp_path / "again.tfm"))
        np.testing.assert_allclose([again.TransformPoint(p.tolist()) for p in theirs], moved, rtol=0, atol=1e-9)


def ants_matrix(path: Path, dims: int, *, kind: str = "AffineTransform_double", broken: bool = False) -> sitk.Transform:
    """Writes an affine as ANTs does, MATLAB's level 4 with a centre of rotation, by SciPy."""
    transform = sitk.AffineTransform(dims)
    transform.SetMatrix((np.eye(dims) + 0.1 * np.arange(dims * dims).reshape(dims, dims)).ravel().tolist())
    transform.SetTranslation([4.0, -5, 6][:dims])
    transform.SetCenter([10.0, 20, -30][:dims])
    dtype = np.float32 if kind.endswith("float") else np.float64
    content = {f"{kind}_{dims}_{dims}": np.array(transform.GetParameters(), dtype)[:, None]}
    content |= {} if broken else {"fixed": np.array(transform.GetFixedParameters(), dtype)[:, None]}
    scipy.io.savemat(path, content, format="4")
    return transform


@pytest.mark.parametrize(
    "kind", ["AffineTransform_double", "AffineTransform_float", "MatrixOffsetTransformBase_double"]
)
def test_affine_of_ants_is_read(tmp_path: Path, physical: Physical, spatial_dims: int, kind: str) -> None:
    expected = ants_matrix(tmp_path / "0GenericAffine.mat", spatial_dims, kind=kind)
    x = np.random.default_rng(0).normal(size=(50, spatial_dims))
    ours = read_transform(tmp_path / "0GenericAffine.mat", physical.frame)
    assert isinstance(ours, AffineTransform)
    np.testing.assert_allclose(
        ours.points(x), physical.moved(expected, x), rtol=0, atol=1e-4 if kind.endswith("float") else 1e-9
    )


def test_field_of_float32_vectors_is_read(tmp_path: Path, physical: Physical, itk_images: Images) -> None:
    field = to_itk(dense(physical.grid(itk_images[0])), physical.grid(itk_images[0]))
    vectors = sitk.Cast(field.GetDisplacementField(), sitk.sitkVectorFloat32)
    x = physical.grid(itk_images[0]).resized((4,) * itk_images[0].GetDimension()).world().flatten(0, -2).numpy()
    for suffix in (*FIELDS, ".mhd"):
        sitk.WriteImage(vectors, str(tmp_path / f"1Warp{suffix}"))
        ours = read_transform(tmp_path / f"1Warp{suffix}", physical.frame)
        np.testing.assert_allclose(ours.points(x), physical.moved(field, x), rtol=0, atol=1e-5)


# --- what cannot be written -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["map.gz", "map.json", "map", "h5"])
def test_unknown_suffix_is_refused(tmp_path: Path, name: str) -> None:
    grid = SamplingGrid((6, 8))
    message = rf"^transform file .*{name} has an unknown suffix; expected one of \.h5, \.tfm, \.txt, .*\.nii\.gz"
    with pytest.raises(ValueError, match=message):
        write_transform(tmp_path / name, affine(grid), grid)
    with pytest.raises(ValueError, match=message):
        read_transform(tmp_path / name, "index")
    for only_read in ("map.mat", "map.mhd"):
        with pytest.raises(ValueError, match=rf"{only_read} has an unknown suffix; expected one of \.h5, \.tfm, \.txt"):
            write_transform(tmp_path / only_read, affine(grid), grid)


def test_map_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    grid = SamplingGrid((6, 8))
    sheared = SamplingGrid((6, 8), np.array([[1, 0.3, 0], [0, 1, 0], [0, 0, 1]]))
    flat = SamplingGrid((1, 8, 9))
    nowhere = DenseTransform(torch.full((1, 2, 6, 8), torch.nan), grid)
    flattened = InverseTransform(AffineTransform(np.zeros((2, 3))))
    cases: list[tuple[str, SpatialTransform, SamplingGrid, str]] = [
        ("t.h5", thin_plate(grid), sheared, r"^grid is sheared .* Give a grid without shear"),
        ("t.mha", affine(grid), sheared, "^grid is sheared"),
        ("t.h5", nowhere, grid, "^transform holds 96 of 96 values that are NaN or infinite"),
        ("t.tfm", AffineTransform(np.full((2, 3), np.inf)), grid, "^transform holds 6 of 6 values that are NaN"),
        ("t.h5", flattened, grid, "^transform has no inverse at"),
        ("t.h5", affine(flat), grid, r"^grid has 2 spatial axes \(shape 6x8\), expected 3"),
        ("t.mha", affine(flat), grid, r"^grid has 2 spatial axes \(shape 6x8\), expected 3"),
        ("t.nii.gz", affine(flat), flat, r"cannot hold a grid of shape 1x8x9, since NIfTI drops .* Use \.mha$"),
        ("t.nii", affine(flat), flat, r"cannot hold a grid of shape 1x8x9, since NIfTI drops"),
    ]
    for name, transform, on, message in cases:
        (tmp_path / name).write_text("old")
        with pytest.raises(ValueError, match=message):
            write_transform(tmp_path / name, transform, on)
        assert (tmp_path / name).read_text() == "old"
    assert len(list(tmp_path.iterdir())) == len({name for name, *_ in cases})
    write_transform(tmp_path / "t.h5", affine(sheared), sheared)
    for suffix in (".mha", ".nrrd"):
        write_transform(tmp_path / f"t{suffix}", affine(flat), flat)
        assert read_transform(tmp_path / f"t{suffix}", "index").grid.shape == (1, 8, 9)


# --- what cannot be read --------------------------------------------------------------------------------------------

READ = [*TRANSFORMS, ".mat", *FIELDS, ".mhd"]


@pytest.mark.parametrize("suffix", READ)
def test_missing_file_is_named(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(
        FileNotFoundError, match=rf"^transform file .*none{suffix} does not exist; expected a file that"
    ):
        read_transform(tmp_path / f"none{suffix}", "index")


@pytest.mark.parametrize("suffix", READ)
@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x00" * 500], ids=["empty", "text", "zeros"])
def test_foreign_file_is_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"map{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^transform file .*map{suffix} is damaged or foreign; expected .* Write it"):
        read_transform(path, "index")


@pytest.mark.parametrize("suffix", [*TRANSFORMS, *FIELDS])
def test_cut_file_is_named(tmp_path: Path, suffix: str) -> None:
    grid, path = SamplingGrid((16, 18)), tmp_path / f"map{suffix}"
    write_transform(path, thin_plate(grid), grid)
    whole = path.read_bytes()
    for kept in (len(whole) * 2 // 3, len(whole) - 2):
        path.write_bytes(whole[:kept])
        with pytest.raises(ValueError, match=rf"^transform file .*map{suffix} is damaged or foreign; expected"):
            read_transform(path, "index")


def test_packed_file_with_a_cut_field_inside_is_refused(tmp_path: Path) -> None:
    grid = SamplingGrid((16, 18))
    write_transform(tmp_path / "map.nii", affine(grid), grid)
    (tmp_path / "map.nii.gz").write_bytes(gzip.compress((tmp_path / "map.nii").read_bytes()[:-8]))
    with pytest.raises(ValueError, match=r"map\.nii\.gz is damaged or foreign; expected an image of vectors"):
        read_transform(tmp_path / "map.nii.gz", "index")


@pytest.mark.parametrize("make", [affine, bspline(3), bspline(1)])
def test_no_cut_of_a_text_is_read_as_another_map(
    tmp_path: Path, make: Callable[[SamplingGrid], SpatialTransform]
) -> None:
    grid, path = SamplingGrid((4, 5)), tmp_path / "map.tfm"
    write_transform(path, make(grid), grid)
    whole = path.read_bytes()
    for length in range(0, len(whole), 1 if make is affine else 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"map\.tfm is damaged or foreign; expected an ITK transform"):
            read_transform(path, "index")
    path.write_bytes(whole.replace(b"\n", b"\r\n"))
    x = grid.world().flatten(0, -2)
    torch.testing.assert_close(read_transform(path, "index").points(x), make(grid).points(x), rtol=0, atol=1e-12)


def test_no_cut_of_a_matlab_file_is_read_as_another_map(tmp_path: Path) -> None:
    path = tmp_path / "0GenericAffine.mat"
    ants_matrix(path, 3)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"0GenericAffine\.mat is damaged or foreign; expected an ITK transform"):
            read_transform(path, "RAS")
    ants_matrix(path, 3, broken=True)
    with pytest.raises(ValueError, match=r"0GenericAffine\.mat is damaged or foreign; expected an ITK transform"):
        read_transform(path, "RAS")


@pytest.mark.parametrize("make", [affine, bspline(2)])
def test_list_of_parameters_that_lacks_one_is_refused(tmp_path: Path, make: Callable) -> None:
    grid, path = SamplingGrid((6, 8)), tmp_path / "map.tfm"
    write_transform(path, make(grid), grid)
    path.write_text(re.sub(r"(?m)^(Parameters:.*) \S+$", r"\1", path.read_text()))
    with pytest.raises(ValueError, match=r"map\.tfm is damaged or foreign; expected an ITK transform"):
        read_transform(path, "index")


def test_transforms_side_by_side_are_refused(tmp_path: Path) -> None:
    grid, path = SamplingGrid((6, 8)), tmp_path / "map.txt"
    write_transform(path, affine(grid), grid)
    head, *body = path.read_text().splitlines()
    path.write_text("\n".join([head, *body, *body]) + "\n")
    with pytest.raises(
        ValueError, match=r"map\.txt cannot be used: it holds 2 transforms side by side; expected one, or"
    ):
        read_transform(path, "index")


def test_field_beside_an_unpacked_one_is_the_one_that_is_read(tmp_path: Path) -> None:
    grid = SamplingGrid((6, 8))
    write_transform(tmp_path / "map.nii.gz", affine(grid), grid)
    sitk.WriteImage(sitk.Image([8, 6], sitk.sitkVectorFloat64, 2), str(tmp_path / "map.nii"))
    x = grid.world().flatten(0, -2).numpy()
    np.testing.assert_allclose(read_transform(tmp_path / "map.nii.gz", "index").points(x), affine(grid).points(x))


@pytest.mark.parametrize("suffix", FIELDS)
def test_image_without_vectors_is_refused(tmp_path: Path, suffix: str) -> None:
    sitk.WriteImage(sitk.Image([8, 6, 5], sitk.sitkFloat32), str(tmp_path / f"cells{suffix}"))
    with pytest.raises(ValueError, match=rf"cells{suffix} cannot be used: image has size 8x6x5 with 1 values a voxel"):
        read_transform(tmp_path / f"cells{suffix}", "RAS")


def test_spline_that_is_no_map_of_ours_and_an_unknown_frame_are_named(tmp_path: Path) -> None:
    sitk.WriteTransform(sitk.BSplineTransform(2, 0), str(tmp_path / "b.tfm"))
    with pytest.raises(
        ValueError, match=r"^transform file .*b\.tfm cannot be used: order is 0, expected one of 1, 2, 3"
    ):
        read_transform(tmp_path / "b.tfm", "index")
    with pytest.raises(ValueError, match="^frame is 'LPS', expected one of 'index', 'RAS'"):
        read_transform(tmp_path / "b.tfm", "LPS")
