"""NIfTI's header through reading and writing; the oracle is nibabel."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from monai_cellreg.data import read_image, write_image

AFFINE = np.array([[0, -0.75, 0, 20.5], [0.5, 0, 0, -7], [0, 0, 3, 1], [0, 0, 0, 1.0]])
VALUES = np.random.default_rng(0).integers(-500, 500, (4, 5, 6)).astype(np.int16)


@pytest.mark.parametrize("codes", [(1, 1), (2, 1), (4, 0), (0, 1)])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_the_header_comes_back(tmp_path: Path, codes: tuple[int, int], kind: type) -> None:
    file = kind(VALUES, AFFINE)
    file.set_sform(AFFINE, codes[0])
    file.set_qform(AFFINE, codes[1])
    file.header.set_xyzt_units("mm", "msec")
    file.header["descrip"] = b"T1, 3 tesla"
    file.header["cal_max"] = 321
    nibabel.save(file, tmp_path / "a.nii.gz")
    write_image(tmp_path / "b.nii.gz", read_image(tmp_path / "a.nii.gz") * 1)
    back = nibabel.load(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(np.asarray(back.dataobj), VALUES)
    assert back.get_data_dtype() == np.int16
    np.testing.assert_allclose(back.affine, AFFINE, atol=1e-6)
    assert (int(back.header["sform_code"]), int(back.header["qform_code"])) == codes
    assert back.header.get_xyzt_units() == ("mm", "msec")
    assert (back.header["descrip"].item(), float(back.header["cal_max"])) == (b"T1, 3 tesla", 321)


def test_a_stored_scale_is_applied_once(tmp_path: Path) -> None:
    file = nibabel.Nifti1Image(VALUES, AFFINE)
    file.header.set_slope_inter(0.25, 7)
    nibabel.save(file, tmp_path / "a.nii")
    image = read_image(tmp_path / "a.nii")
    expected = nibabel.load(tmp_path / "a.nii").get_fdata()
    assert np.unique(expected % 1).size == 4
    np.testing.assert_allclose(image[0], expected)
    write_image(tmp_path / "b.nii", image)
    np.testing.assert_allclose(nibabel.load(tmp_path / "b.nii").get_fdata(), expected)


def test_an_image_on_another_grid_has_that_grid(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(VALUES, AFFINE), tmp_path / "a.nii")
    other = np.diag([2.0, 2, 2, 1])
    nibabel.save(nibabel.Nifti1Image(VALUES[:3, :2], other), tmp_path / "other.nii")
    write_image(tmp_path / "b.nii", read_image(tmp_path / "other.nii") + 0.4, like=read_image(tmp_path / "a.nii"))
    back = nibabel.load(tmp_path / "b.nii")
    np.testing.assert_array_equal(back.affine, other)
    np.testing.assert_array_equal(np.asarray(back.dataobj), VALUES[:3, :2])
