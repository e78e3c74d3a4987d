"""MHA, MHD and NRRD beside NIfTI; the oracle is ITK's own place of every voxel."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor

from monai_cellreg.data import ImageReadError, read_grid, read_image, read_label, write_image
from monai_cellreg.data.readers import page_count
from monai_cellreg.geometry import SamplingGrid

NAMES = ("a.mha", "a.mhd", "a.nrrd")


def oblique(dims: int = 3) -> sitk.Image:
    """Anisotropic, turned about all axes, with an origin, and of unequal sizes."""
    size = (7, 5, 4)[:dims]
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(-900, 3000, size[::-1]).astype(np.int16))
    turn = sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.5).GetMatrix() if dims == 3 else (0.8, -0.6, 0.6, 0.8)
    image.SetSpacing((0.7, 1.3, 3.1)[:dims])
    image.SetOrigin((-12.5, 33.0, 101.25)[:dims])
    image.SetDirection(turn)
    return image


def check_place(image: torch.Tensor, itk: sitk.Image) -> None:
    """Every corner voxel lies, and holds, what ITK says; x and y change sign between ITK and RAS."""
    grid = SamplingGrid.from_image(image)
    assert (grid.frame, grid.unit) == ("RAS", "mm")
    assert grid.shape == itk.GetSize()
    for corner in np.ndindex(*(2,) * itk.GetDimension()):
        index = [c * (n - 1) for c, n in zip(corner, itk.GetSize(), strict=True)]
        physical = np.array(itk.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1][: len(index)]
        world = grid.index_to_world(torch.tensor(index, dtype=torch.float64))
        np.testing.assert_allclose(world, physical, atol=1e-4)
        assert float(image[(0, *index)]) == itk[index]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_voxels_lie_where_itk_says(tmp_path: Path, name: str, dims: int) -> None:
    itk = oblique(dims)
    sitk.WriteImage(itk, str(tmp_path / name))
    image = read_image(tmp_path / name)
    check_place(image, itk)
    assert image.meta["source_dtype"] == "int16"
    assert read_grid(tmp_path / name).matches(SamplingGrid.from_image(image))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_image_as_nifti_is_the_same_tensor(tmp_path: Path, name: str) -> None:
    itk = oblique()
    sitk.WriteImage(itk, str(tmp_path / "a.nii.gz"))
    sitk.WriteImage(itk, str(tmp_path / name))
    nifti, other = read_image(tmp_path / "a.nii.gz"), read_image(tmp_path / name)
    np.testing.assert_array_equal(nifti, other)
    np.testing.assert_allclose(nifti.affine, other.affine, atol=1e-5)


@pytest.mark.parametrize("unit", ["micron", "mm", "meter"])
def test_nifti_is_measured_in_mm_as_by_itk(tmp_path: Path, unit: str) -> None:
    affine = np.array([[0, -0.75, 0, 20.5], [0.5, 0, 0, -7], [0, 0, 3, 1], [0, 0, 0, 1.0]])
    file = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), affine)
    file.header.set_xyzt_units(unit, "sec")
    nibabel.save(file, tmp_path / "a.nii")
    image = read_image(tmp_path / "a.nii")
    check_place(image, sitk.ReadImage(str(tmp_path / "a.nii")))
    write_image(tmp_path / "b.nii", image)
    back = nibabel.load(tmp_path / "b.nii")
    np.testing.assert_allclose(back.affine, affine, rtol=1e-6)
    assert back.header.get_xyzt_units() == (unit, "sec")


@pytest.mark.parametrize("name", NAMES)
def test_written_back_whole(tmp_path: Path, name: str) -> None:
    itk = oblique()
    itk.SetMetaData("note", "kept for the next reader")
    source = tmp_path / "in"
    source.mkdir()
    sitk.WriteImage(itk, str(source / name))
    write_image(tmp_path / name, read_image(source / name) + 0.3)
    back = sitk.ReadImage(str(tmp_path / name))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(itk))
    assert back.GetPixelID() == itk.GetPixelID()
    assert back.GetMetaData("note") == "kept for the next reader"
    for get in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(back, get)(), getattr(itk, get)(), atol=1e-5)
    assert len(list(tmp_path.iterdir())) == (3 if name.endswith(".mhd") else 2)


def test_a_slice_keeps_its_height(tmp_path: Path) -> None:
    itk = oblique()[:, :, 2:3]
    itk.SetDirection((0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))
    sitk.WriteImage(itk, str(tmp_path / "a.mha"))
    image = read_image(tmp_path / "a.mha")
    assert image.shape == (1, 7, 5)
    for name in ("b.mha", "b.nii.gz"):
        write_image(tmp_path / name, image)
    back = sitk.ReadImage(str(tmp_path / "b.mha"))
    assert back.GetSize() == (7, 5, 1)
    expected = itk.TransformIndexToPhysicalPoint((6, 4, 0))
    np.testing.assert_allclose(back.TransformIndexToPhysicalPoint((6, 4, 0)), expected, atol=1e-4)
    world = nibabel.load(tmp_path / "b.nii.gz").affine @ [6, 4, 0, 1]
    np.testing.assert_allclose(world[:3] * [-1, -1, 1], expected, atol=1e-4)


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_a_fourth_axis_is_pages(tmp_path: Path, name: str) -> None:
    frames = np.random.default_rng(1).integers(0, 99, (3, 4, 5, 7)).astype(np.uint8)
    itk = sitk.JoinSeries([sitk.GetImageFromArray(frame) for frame in frames])
    itk.SetSpacing((0.5, 2.0, 3.0, 9.0))
    itk.SetOrigin((1.0, 2.0, 3.0, 4.0))
    sitk.WriteImage(itk, str(tmp_path / name))
    assert page_count(tmp_path / name) == 3
    image = read_label(tmp_path / name, page=1)
    np.testing.assert_array_equal(image[0], frames[1].T)
    np.testing.assert_allclose(image.affine, [[-0.5, 0, 0, -1], [0, -2, 0, -2], [0, 0, 3, 3], [0, 0, 0, 1]])


def test_colour_and_vectors(tmp_path: Path) -> None:
    colour = np.random.default_rng(2).integers(0, 255, (5, 7, 3)).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(colour, isVector=True), str(tmp_path / "a.mha"))
    image = read_image(tmp_path / "a.mha", color="keep")
    np.testing.assert_array_equal(image, colour.transpose(2, 1, 0))
    write_image(tmp_path / "b.mha", image)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "b.mha"))), colour)
    field = sitk.GetImageFromArray(colour.astype(np.float64), isVector=True)
    sitk.WriteImage(field, str(tmp_path / "field.mha"))
    with pytest.raises(ImageReadError, match=r"3 values a pixel .* a field of vectors is a transform"):
        read_image(tmp_path / "field.mha")


def test_rows_and_micrometres_become_x_and_millimetres(tmp_path: Path) -> None:
    meta = {"space": "index", "unit": "µm"}
    image = MetaTensor(
        torch.arange(6.0).reshape(1, 2, 3), affine=torch.diag(torch.tensor([500.0, 250, 1, 1])), meta=meta
    )
    write_image(tmp_path / "a.mha", image)
    itk = sitk.ReadImage(str(tmp_path / "a.mha"))
    assert itk.GetSize() == (3, 2)
    np.testing.assert_allclose(itk.GetSpacing(), (0.25, 0.5))
    assert itk[2, 1] == 5


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_a_cut_file_is_named(tmp_path: Path, name: str) -> None:
    sitk.WriteImage(oblique(), str(tmp_path / name))
    content = (tmp_path / name).read_bytes()
    for size in (0, 40, len(content) - 60):
        (tmp_path / name).write_bytes(content[:size])
        with pytest.raises(ImageReadError, match=f"{name}.*cannot be read .*undamaged"):
            read_image(tmp_path / name)
