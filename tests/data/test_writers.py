"""Writing, read back by other libraries."""

import nibabel
import numpy as np
import pytest
import tifffile
import torch
from monai.data import MetaTensor
from PIL import Image

from monai_cellreg.data.readers import read_image
from monai_cellreg.data.writers import write_image

VALUES = torch.tensor([[[-3.0, 0.4, 0.6], [254.5, 255.4, 300.0]]])  # (1, 2, 3)
ROUNDED = [[0, 0, 1], [254, 255, 255]]


def image_of(dtype: np.dtype, path) -> MetaTensor:
    tifffile.imwrite(path, np.arange(6).reshape(2, 3).astype(dtype))
    return read_image(path)


@pytest.mark.parametrize("name", ["w.png", "w.tif", "w.ome.tif", "w.nii", "w.nii.gz"])
def test_the_source_type_is_rounded_and_clipped_to(tmp_path, name):
    write_image(tmp_path / name, VALUES, like=image_of(np.uint8, tmp_path / "source.tif"))
    if "png" in name:
        back = np.asarray(Image.open(tmp_path / name))
    elif "tif" in name:
        back = tifffile.imread(tmp_path / name)
    else:
        back = np.asarray(nibabel.load(tmp_path / name).dataobj)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, ROUNDED)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, "source.tif"])


def test_an_image_that_was_read_keeps_its_own_type(tmp_path):
    image = image_of(np.uint16, tmp_path / "source.tif")
    write_image(tmp_path / "w.png", image * 3)
    assert np.asarray(Image.open(tmp_path / "w.png")).tolist() == [[0, 3, 6], [9, 12, 15]]
    write_image(tmp_path / "w.tif", VALUES)  # a plain tensor has no source
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "w.tif"), VALUES[0].numpy())


def test_colour(tmp_path):
    colour = np.random.default_rng(0).integers(0, 255, (3, 16, 24)).astype(np.uint8)
    for name in ("w.png", "w.tif"):
        write_image(tmp_path / name, colour)
        np.testing.assert_array_equal(read_image(tmp_path / name, color="keep"), colour)
    write_image(tmp_path / "w.jpg", colour[:1])
    with Image.open(tmp_path / "w.jpg") as file:
        assert (file.format, file.size) == ("JPEG", (24, 16))


@pytest.mark.parametrize("size", [3, 4])
def test_nifti_keeps_the_affine(tmp_path, size):
    affine = torch.eye(size, dtype=torch.float64)
    affine[:2, :2] = torch.tensor([[0.0, -0.5], [0.75, 0.0]])
    affine[:2, -1] = torch.tensor([8.0, -3.0])
    write_image(tmp_path / "w.nii.gz", MetaTensor(VALUES, affine=affine))
    back = nibabel.load(tmp_path / "w.nii.gz")
    np.testing.assert_allclose(back.get_fdata(), VALUES[0])
    np.testing.assert_allclose(back.affine[:2, [0, 1, 3]], [[0, -0.5, 8], [0.75, 0, -3]])


def test_nifti_holds_volumes_and_64_bit_labels(tmp_path):
    label = torch.arange(24).reshape(1, 2, 3, 4)
    write_image(tmp_path / "w.nii", label)
    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "w.nii").dataobj), label[0])


def test_what_a_format_cannot_hold(tmp_path):
    for name, image, text in [
        ("w.png", VALUES, "written as float32 .*; PNG holds uint8 or uint16"),
        ("w.jpg", VALUES.to(torch.int32), "JPEG holds uint8"),
        ("w.png", torch.zeros(3, 2, 3), "PNG holds uint8"),
        ("w.png", torch.zeros(1, 2, 3, 4, dtype=torch.uint8), r"shape \(1, 2, 3, 4\).*\.nii\.gz"),
        ("w.tif", torch.zeros(2, 3), r"shape \(2, 3\); expected \(C, \*spatial\)"),
        ("w.nii", torch.zeros(3, 2, 3), "NIfTI is written from"),
        ("w.bmp", VALUES, "extension '.bmp'; expected one of .png"),
    ]:
        with pytest.raises(ValueError, match=text):
            write_image(tmp_path / name, image)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "w.tif"
    write_image(path, VALUES)
    before = path.read_bytes()

    def interrupted(temporary, *_, **__):
        temporary.write_bytes(before[:20])
        raise OSError("disk full")

    monkeypatch.setattr(tifffile, "imwrite", interrupted)
    with pytest.raises(OSError, match="disk full"):
        write_image(path, VALUES * 2)
    assert [p.name for p in tmp_path.iterdir()] == ["w.tif"]
    assert path.read_bytes() == before
