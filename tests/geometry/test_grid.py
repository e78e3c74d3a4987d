"""A grid says where voxels lie, keeps that through MONAI images, resizing and files, and refuses what it cannot say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage, Resize
from nibabel.affines import apply_affine
from PIL import Image

from monai_cellreg.geometry import AffineTransform, SamplingGrid, resample


def test_world_is_affine_of_index(fixed_grid: SamplingGrid) -> None:
    index = np.stack(np.meshgrid(*map(np.arange, fixed_grid.shape), indexing="ij"), axis=-1)
    np.testing.assert_array_equal(fixed_grid.index(), index)
    np.testing.assert_allclose(fixed_grid.world(), apply_affine(fixed_grid.affine, index), rtol=0, atol=1e-12)
    between = index + 0.3
    world = fixed_grid.index_to_world(torch.tensor(between))
    np.testing.assert_allclose(fixed_grid.world_to_index(world), between, rtol=0, atol=1e-12)


def test_coordinates_keep_their_precision(fixed_grid: SamplingGrid) -> None:
    index = 1000 + torch.arange(fixed_grid.spatial_dims)
    exact = fixed_grid.index_to_world(index.double())
    assert exact.dtype == torch.float64
    for given in (index, index.float(), index.half()):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            world = fixed_grid.index_to_world(given)
        assert world.dtype == torch.float32
        torch.testing.assert_close(world.double(), exact, rtol=1e-6, atol=0)


def test_defaults_are_index_coordinates_in_pixels() -> None:
    grid = SamplingGrid((4, 6))
    assert (grid.frame, grid.unit, grid.spacing, grid.spatial_dims) == ("index", "px", (1.0, 1.0), 2)
    assert (SamplingGrid((4, 6, 5), frame="RAS").unit, SamplingGrid((4, 6), unit="µm").unit) == ("mm", "µm")
    torch.testing.assert_close(grid.world(), grid.index(), rtol=0, atol=0)


def test_spacing_follows_tensor_axes(fixed_grid: SamplingGrid, spatial_dims: int) -> None:
    np.testing.assert_allclose(fixed_grid.spacing, [1.6, 1.1, 1.9][:spatial_dims])


def test_cube_reaches_the_outermost_voxel_centres(fixed_grid: SamplingGrid) -> None:
    dims = fixed_grid.spatial_dims
    corners = apply_affine(fixed_grid.cube_to_world, [[-1.0] * dims, [1.0] * dims, [1.0] + [-1.0] * (dims - 1)])
    world = fixed_grid.world()
    expected = [world[(0,) * dims], world[(-1,) * dims], world[(-1,) + (0,) * (dims - 1)]]
    np.testing.assert_allclose(corners, torch.stack(expected), rtol=0, atol=1e-12)
    flat = SamplingGrid((1, 5)).cube_to_world
    np.testing.assert_allclose(apply_affine(flat, [0.0, -1.0]), [0.0, 0.0])
    assert np.linalg.det(flat) != 0


@pytest.mark.parametrize("factor", [2.0, 0.5, 1.3])
def test_resized_lies_and_reads_as_monai_resize(fixed_grid: SamplingGrid, factor: float) -> None:
    dims = fixed_grid.spatial_dims
    shape = tuple(round(s * factor) + axis for axis, s in enumerate(fixed_grid.shape))
    image = fixed_grid.to_image(torch.rand(1, *fixed_grid.shape, generator=torch.Generator().manual_seed(0)))
    expected = Resize(shape, mode="bilinear" if dims == 2 else "trilinear", align_corners=False)(image)
    resized = fixed_grid.resized(shape)
    np.testing.assert_allclose(resized.affine, expected.affine, rtol=0, atol=1e-6)
    assert resized.shape == shape
    read = resample(image.as_tensor()[None], AffineTransform(np.eye(dims + 1)), resized, fixed_grid)[0]
    torch.testing.assert_close(read, expected.as_tensor(), rtol=0, atol=1e-5)


def test_a_ramp_stays_a_ramp_when_resized(fixed_grid: SamplingGrid, spatial_dims: int) -> None:
    slope = torch.tensor([0.7, -1.3, 2.1][:spatial_dims], dtype=torch.float64)
    resized = fixed_grid.resized([2 * s - 1 for s in fixed_grid.shape])
    ramp = (fixed_grid.world() @ slope)[None, None]
    read = resample(ramp, AffineTransform(np.eye(spatial_dims + 1)), resized, fixed_grid)[0, 0]
    inner = (slice(1, -1),) * spatial_dims
    torch.testing.assert_close(read[inner], (resized.world() @ slope)[inner], rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", [(5, 8), (4, 5, 6)])
def test_plain_image_has_world_equal_index(shape: tuple[int, ...]) -> None:
    grid = SamplingGrid.from_image(torch.zeros(3, *shape))
    assert (grid.shape, grid.frame) == (shape, "index")
    np.testing.assert_array_equal(grid.affine, np.eye(len(shape) + 1))


def test_image_made_on_a_grid_gives_the_grid_back(fixed_grid: SamplingGrid) -> None:
    for frame, unit in (("index", "µm"), ("RAS", "mm")):
        grid = SamplingGrid(fixed_grid.shape, fixed_grid.affine, frame, unit)
        source = MetaTensor(torch.zeros(2, *grid.shape), meta={"filename_or_obj": "cells.tif"})
        image = grid.to_image(source)
        again = SamplingGrid.from_image(image)
        assert again.matches(grid)
        assert (again.unit, image.meta["filename_or_obj"]) == (unit, "cells.tif")
        assert "unit" not in source.meta
        np.testing.assert_array_equal(source.affine, np.eye(4))


@pytest.mark.parametrize(
    "linear",
    [[[0.7, 0.0], [0.0, 1.2]], [[-0.7, 0.0], [0.0, -1.2]], [[0.0, 0.7], [1.2, 0.0]], [[0.6, -0.9], [0.3, 1.1]]],
    ids=["straight", "mirrored", "swapped", "askew"],
)
def test_two_dimensional_nifti_as_monai_loads_it(tmp_path: Path, linear: list[list[float]]) -> None:
    affine = np.eye(4)
    affine[:2, :2], affine[:2, 3] = linear, [-120.5, 31.25]
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 8), np.float32), affine), tmp_path / "slice.nii.gz")
    image = LoadImage(image_only=True, ensure_channel_first=True)(tmp_path / "slice.nii.gz")
    assert image.affine.shape == (4, 4)
    grid = SamplingGrid.from_image(image)
    assert (grid.shape, grid.frame, grid.unit) == ((5, 8), "RAS", "mm")
    np.testing.assert_allclose(grid.affine[:2, :2], linear, rtol=0, atol=1e-6)
    np.testing.assert_allclose(grid.affine[:2, 2], [-120.5, 31.25], rtol=0, atol=1e-5)


@pytest.mark.parametrize("angle_rad", [0.3, np.pi / 2], ids=["tilted", "upright"])
def test_slice_out_of_its_plane_is_refused(angle_rad: float) -> None:
    affine = np.eye(4)
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    affine[1:3, 1:3] = [[cos, -sin], [sin, cos]]
    image = MetaTensor(torch.zeros(1, 5, 8), affine=torch.tensor(affine))
    with pytest.raises(ValueError, match=r"turns its plane out of the first two world axes; .* Reorient the slice"):
        SamplingGrid.from_image(image)


@pytest.mark.parametrize("space", ["LPS", "RPI", "LAS"])
def test_other_anatomical_space_becomes_ras(fixed_grid: SamplingGrid, space: str) -> None:
    dims = fixed_grid.spatial_dims
    signs = np.diag([*[1.0 if ours == theirs else -1.0 for ours, theirs in zip("RAS", space, strict=True)][:dims], 1])
    given = MetaTensor(torch.zeros(1, *fixed_grid.shape), affine=signs @ fixed_grid.affine, meta={"space": space})
    grid = SamplingGrid.from_image(given)
    assert (grid.frame, grid.unit) == ("RAS", "mm")
    np.testing.assert_allclose(grid.affine, fixed_grid.affine, rtol=0, atol=1e-12)
    assert SamplingGrid.from_image(grid.to_image(given)).matches(grid)


@pytest.mark.parametrize("space", ["SRA", "RA", "RASI", "screen", "LPX"])
def test_unknown_space_is_refused(space: str) -> None:
    with pytest.raises(ValueError, match=rf"^image has the space '{space}'; expected 'index', or .* such as 'RAS'"):
        SamplingGrid.from_image(MetaTensor(torch.zeros(1, 5, 8, 6), meta={"space": space}))


READERS: dict[str, dict[str, Any]] = {
    "default": {},
    "ITK": {"reader": "ITKReader"},
    "ITK, own space": {"reader": "ITKReader", "affine_lps_to_ras": False},
    "nibabel": {"reader": "NibabelReader"},
}


def bright_voxel(image: torch.Tensor) -> np.ndarray:
    """World coordinates of the one voxel above 100."""
    index = (image[0] > 100).nonzero()
    assert len(index) == 1
    return SamplingGrid.from_image(image).index_to_world(index.as_subclass(torch.Tensor)).numpy()[0]


@pytest.mark.filterwarnings("ignore:builtin type")  # of ITK's own modules
@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
@pytest.mark.parametrize("suffix", [".nii.gz", ".mha"])
def test_every_reader_s_voxels_lie_where_itk_says(
    tmp_path: Path, spatial_dims: int, turned: Callable[[int, float], np.ndarray], reader: dict[str, Any], suffix: str
) -> None:
    at = (5, 1, 3)[:spatial_dims]  # x, y(, z)
    stored = sitk.Image((7, 5, 4)[:spatial_dims], sitk.sitkUInt8)
    stored[at] = 200
    stored.SetDirection(turned(spatial_dims, 0.6).ravel().tolist())
    stored.SetSpacing((0.5, 2.0, 3.0)[:spatial_dims])
    stored.SetOrigin((10.0, -20.0, 5.0)[:spatial_dims])
    path = str(tmp_path / f"image{suffix}")
    sitk.WriteImage(stored, path)
    image = LoadImage(image_only=True, ensure_channel_first=True, **reader)(path)
    physical = np.array(sitk.ReadImage(path).TransformIndexToPhysicalPoint(at))
    assert SamplingGrid.from_image(image).frame == "RAS"
    np.testing.assert_allclose(bright_voxel(image), physical * [-1, -1, 1][:spatial_dims], rtol=0, atol=1e-4)


def test_picture_is_read_in_rows_and_columns(tmp_path: Path) -> None:
    values = np.zeros((5, 7), np.uint8)
    values[1, 5] = 200
    Image.fromarray(values).save(tmp_path / "image.png")
    image = LoadImage(image_only=True, ensure_channel_first=True, reverse_indexing=False)(tmp_path / "image.png")
    assert SamplingGrid.from_image(image).frame == "index"
    np.testing.assert_array_equal(bright_voxel(image), [1, 5])


def test_plain_array_and_tifffile_are_rows_and_columns(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "cells.tif", np.arange(35, dtype=np.uint16).reshape(5, 7))
    grid = SamplingGrid.from_image(torch.from_numpy(tifffile.imread(tmp_path / "cells.tif").astype(np.float32))[None])
    assert (grid.shape, grid.frame, grid.unit) == ((5, 7), "index", "px")


def test_unit_of_length_scales_the_world(fixed_grid: SamplingGrid) -> None:
    micro = SamplingGrid(fixed_grid.shape, fixed_grid.affine, "RAS", "µm")
    milli = micro.in_unit("mm")
    assert (milli.unit, milli.frame, milli.shape) == ("mm", "RAS", micro.shape)
    np.testing.assert_allclose(milli.world(), micro.world() / 1000, rtol=1e-12)
    for unit, factor in (("nm", 1e3), ("um", 1.0), ("cm", 1e-4), ("m", 1e-6)):
        np.testing.assert_allclose(micro.in_unit(unit).spacing, np.multiply(micro.spacing, factor), rtol=1e-12)
    assert milli.in_unit("µm").matches(micro)
    assert micro.affine[0, 0] == fixed_grid.affine[0, 0]


def test_unit_without_a_length_is_refused() -> None:
    with pytest.raises(ValueError, match="^unit of the grid is 'px', expected one of 'nm', 'µm'"):
        SamplingGrid((4, 5)).in_unit("mm")
    with pytest.raises(ValueError, match="^unit is 'micron', expected one of 'nm', 'µm'"):
        SamplingGrid((4, 5), unit="mm").in_unit("micron")


@pytest.mark.parametrize("unit", [1e-5, 1.0, 1e5])
def test_matches_whatever_the_unit(fixed_grid: SamplingGrid, unit: float) -> None:
    def changed(shift: float = 0.0, stretch: float = 0.0, frame: str = "index") -> SamplingGrid:
        affine = fixed_grid.affine.copy()
        affine[:-1] *= unit
        affine[0, 0] *= 1 + stretch
        affine[:-1, -1] += shift * affine[:-1, 0]
        return SamplingGrid(fixed_grid.shape, affine, frame)

    grid = changed()
    assert grid.matches(changed())
    assert grid.matches(SamplingGrid(grid.shape, grid.affine.astype(np.float32)))
    assert not grid.matches(changed(shift=0.01))
    assert not grid.matches(changed(stretch=0.01))
    assert not grid.matches(changed(frame="RAS"))
    assert not grid.matches(grid.resized([s + 1 for s in grid.shape]))


def test_grid_keeps_its_own_affine() -> None:
    given = np.diag([2.0, 3.0, 1.0])
    grid = SamplingGrid((4, 5), given)
    given[0, 0] = 7
    assert grid.affine[0, 0] == 2
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((5,),), r"^shape is \(5,\); expected two or three positive sizes"),
        (((5, 0),), r"^shape is \(5, 0\); expected two or three"),
        (((2, 3, 4, 5),), r"^shape is \(2, 3, 4, 5\); expected two or three"),
        (((5, 6), np.eye(4)), r"^affine has shape 4x4 but the grid has 2 axes; expected 3x3"),
        (((5, 6), np.diag([1, 0, 1])), r"^affine is singular or not finite: .* expected an invertible matrix"),
        (((5, 6), np.array([[1, 2, 0], [2, 4, 0], [0, 0, 1]])), r"^affine is singular"),
        (((5, 6), np.diag([1, np.nan, 1])), r"^affine is singular or not finite"),
        (((5, 6), np.eye(3), "ras"), r"^frame is 'ras', expected one of 'index', 'RAS'; did you mean 'RAS'"),
    ],
)
def test_impossible_grid_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SamplingGrid(*arguments)


def test_resized_wants_as_many_axes() -> None:
    with pytest.raises(ValueError, match=r"^shape has 3 spatial axes \(shape 4x5x6\), expected 2"):
        SamplingGrid((4, 5)).resized((4, 5, 6))


@pytest.mark.parametrize("shape", [(4, 5), (1, 5, 4), (1, 1, 4, 5)])
def test_data_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^data has shape .* but its grid is 4x5; expected \(C, 4, 5\)\. Add missing"):
        SamplingGrid((4, 5)).to_image(torch.zeros(shape))
