"""Reading, against files that other libraries write."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from monai_cellreg.data.readers import ImageReadError, page_count, read_image, read_label

GREY = np.random.default_rng(0).integers(0, 60000, (7, 11)).astype(np.uint16)  # row 7, column 11: swapped axes show
COLOUR = np.random.default_rng(1).integers(0, 255, (7, 11, 3)).astype(np.uint8)


def write(path: Path, array: np.ndarray) -> Path:
    """Writes with the format's own library; NIfTI's first axis is our first axis."""
    if ".tif" in path.name:
        tifffile.imwrite(path, array, compression="lzw", photometric="rgb" if array.shape[-1] == 3 else "minisblack")
    elif ".nii" in path.name:
        nibabel.save(nibabel.Nifti1Image(array, np.diag([2.0, 3.0, 4.0, 1.0])), path)
    else:
        Image.fromarray(array).save(path)
    return path


@pytest.mark.parametrize("name", ["a.png", "A.PNG", "a.tif", "a.b.tiff", "a.ome.tif", "a.nii", "a.nii.gz"])
def test_every_format_gives_rows_then_columns_and_the_stored_values(tmp_path, name):
    path = write(tmp_path / name, GREY)
    image, label = read_image(path), read_label(path)
    np.testing.assert_array_equal(image.numpy(), GREY[None].astype(np.float32))
    np.testing.assert_array_equal(label.numpy(), GREY[None])
    assert (str(image.dtype), str(label.dtype)) == ("torch.float32", "torch.int32")
    assert image.meta["source_dtype"] == "uint16"
    assert page_count(path) == 1


def test_jpeg_rows_and_columns(tmp_path):
    array = np.zeros((16, 32), np.uint8)
    array[:8] = 200
    image = read_image(write(tmp_path / "a.jpg", array))
    assert image.shape == (1, 16, 32)
    np.testing.assert_allclose(image[0].numpy(), array, atol=8)


def test_space_is_index_without_and_ras_with_an_affine(tmp_path):
    plain, nifti = (read_image(write(tmp_path / name, GREY)) for name in ("a.png", "a.nii.gz"))
    assert (plain.meta["space"], nifti.meta["space"]) == ("index", "RAS")
    np.testing.assert_array_equal(plain.affine, np.eye(4))
    np.testing.assert_array_equal(nifti.affine, np.diag([2.0, 3.0, 4.0, 1.0]))


def test_a_nifti_affine_with_flips_and_origin_is_kept(tmp_path):
    affine = np.array([[0, -0.75, 0, 20.5], [0.5, 0, 0, -7], [0, 0, 3, 1], [0, 0, 0, 1.0]])
    nibabel.save(nibabel.Nifti1Image(GREY[:, :, None], affine), tmp_path / "a.nii.gz")
    image = read_image(tmp_path / "a.nii.gz")
    assert image.shape == (1, 7, 11)  # the trailing axis of length 1 is gone
    np.testing.assert_array_equal(image[0].numpy(), GREY)
    np.testing.assert_allclose(image.affine, affine)


def test_a_volume_stays_one_image_and_a_fourth_axis_is_pages(tmp_path):
    stack = np.random.default_rng(2).random((4, 5, 6, 3)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(stack[..., 0], np.eye(4)), tmp_path / "volume.nii")
    nibabel.save(nibabel.Nifti1Image(stack, np.eye(4)), tmp_path / "series.nii")
    np.testing.assert_array_equal(read_image(tmp_path / "volume.nii")[0].numpy(), stack[..., 0])
    assert page_count(tmp_path / "series.nii") == 3
    np.testing.assert_array_equal(read_image(tmp_path / "series.nii", page=2)[0].numpy(), stack[..., 2])


@pytest.mark.parametrize("options", [{}, {"imagej": True}, {"ome": True}])
def test_pages_of_a_tiff(tmp_path, options):
    pages = np.random.default_rng(3).integers(0, 255, (3, 7, 11)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack", **options)
    assert page_count(tmp_path / "a.tif") == 3
    for page in range(3):
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif", page=page)[0].numpy(), pages[page])
    with pytest.raises(ImageReadError, match="has 3 pages; choose one"):
        read_image(tmp_path / "a.tif")
    for page in (3, -1):
        with pytest.raises(ImageReadError, match=f"page is {page} but .* has 3 pages; expected 0 to 2"):
            read_image(tmp_path / "a.tif", page=page)


def test_frames_of_an_animation_are_pages(tmp_path):
    frames = [Image.fromarray((GREY // (page + 300)).astype(np.uint8)) for page in range(2)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    assert page_count(tmp_path / "a.png") == 2
    np.testing.assert_allclose(read_image(tmp_path / "a.png", page=1)[0].numpy(), np.asarray(frames[1]), rtol=1e-5)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_colour_becomes_luminance_on_the_stored_scale(tmp_path, name):
    image = read_image(write(tmp_path / name, COLOUR))
    np.testing.assert_allclose(image[0].numpy(), COLOUR @ [0.2125, 0.7154, 0.0721], rtol=1e-5)
    np.testing.assert_array_equal(read_image(tmp_path / name, color="keep").numpy(), np.moveaxis(COLOUR, -1, 0))


def test_colour_stored_plane_by_plane_and_in_16_bits(tmp_path):
    planes = np.moveaxis(COLOUR, -1, 0).astype(np.uint16) * 200
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    expected = np.tensordot([0.2125, 0.7154, 0.0721], planes.astype(float), 1)
    np.testing.assert_allclose(read_image(tmp_path / "a.tif")[0].numpy(), expected, rtol=1e-5)


def test_alpha_is_dropped(tmp_path):
    alpha = np.random.default_rng(4).integers(0, 255, (7, 11, 1)).astype(np.uint8)
    Image.fromarray(np.concatenate([COLOUR, alpha], -1)).save(tmp_path / "rgba.png")
    Image.fromarray(np.concatenate([COLOUR[..., :1], alpha], -1)).save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png", color="keep"), np.moveaxis(COLOUR, -1, 0))
    np.testing.assert_array_equal(read_image(tmp_path / "la.png")[0], COLOUR[..., 0])


def test_a_palette_gives_colours_as_image_and_indices_as_label(tmp_path):
    indices = np.arange(6, dtype=np.uint8).reshape(2, 3)
    file = Image.fromarray(indices).convert("P")
    file.putpalette([channel for k in range(6) for channel in (40 * k, 40 * k, 40 * k)])
    file.putdata(indices.ravel().tolist())
    file.save(tmp_path / "a.png")
    np.testing.assert_allclose(read_image(tmp_path / "a.png")[0], 40 * indices, rtol=1e-5)
    np.testing.assert_array_equal(read_label(tmp_path / "a.png")[0], indices)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.nii.gz", "a.jpg"])
@pytest.mark.parametrize("keep", [0.0, 0.6])
def test_a_truncated_file_is_named(tmp_path, name, keep):
    path = write(tmp_path / name, np.random.default_rng(5).integers(0, 255, (64, 48)).astype(np.uint8))
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ImageReadError, match=f"{name}.*cannot be read .*undamaged"):
        read_image(path)


@pytest.mark.parametrize(("value", "text"), [(np.nan, "1 of 77 pixels"), (np.inf, "1 of 77 pixels")])
def test_pixels_that_are_not_finite(tmp_path, value, text):
    array = GREY.astype(np.float32)
    array[2, 3] = value
    with pytest.raises(ImageReadError, match=text):
        read_image(write(tmp_path / "a.tif", array))


def test_a_constant_image_is_refused_but_an_empty_label_is_not(tmp_path):
    path = write(tmp_path / "a.png", np.full((7, 11), 9, np.uint8))
    with pytest.raises(ImageReadError, match="constant .every pixel is 9."):
        read_image(path)
    assert read_label(path).unique().tolist() == [9]


def test_paths_that_are_no_images(tmp_path):
    (tmp_path / "a.txt").write_text("cells")
    for path, text in [("no.png", "does not exist"), (".", "is a folder"), ("a.txt", "'.txt'; expected one of .png")]:
        with pytest.raises(ImageReadError, match=text):
            read_image(tmp_path / path)
    with pytest.raises(ValueError, match="color is 'rgb'"):
        read_image(write(tmp_path / "a.png", GREY), color="rgb")


def test_shapes_and_numbers_that_are_no_image(tmp_path):
    tifffile.imwrite(tmp_path / "five.tif", np.zeros((7, 11, 5), np.uint8) + GREY[..., None] % 9, planarconfig="contig")
    with pytest.raises(ImageReadError, match="5 samples a pixel"):
        read_image(tmp_path / "five.tif")
    tifffile.imwrite(tmp_path / "complex.tif", GREY.astype(np.complex64))
    with pytest.raises(ImageReadError, match="complex"):
        read_image(tmp_path / "complex.tif")
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 3, 4, 5, 6)), np.eye(4)), tmp_path / "five.nii")
    with pytest.raises(ImageReadError, match="expected a non-empty 2D or 3D image"):
        read_image(tmp_path / "five.nii")


def test_labels_are_whole_numbers_without_colour(tmp_path):
    with pytest.raises(ImageReadError, match="3 samples a pixel"):
        read_label(write(tmp_path / "colour.png", COLOUR))
    whole = write(tmp_path / "whole.tif", (GREY % 5).astype(np.float32))
    np.testing.assert_array_equal(read_label(whole)[0], GREY % 5)
    for name, array in [("half", GREY + np.float32(0.5)), ("nan", GREY * np.float32("nan")), ("big", GREY * 1e9)]:
        with pytest.raises(ImageReadError, match="whole numbers"):
            read_label(write(tmp_path / f"{name}.tif", array))
