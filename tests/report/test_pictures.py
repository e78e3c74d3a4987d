import base64
import io

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2gray

from monai_cellreg.report import pictures
from monai_cellreg.report.pictures import (
    Mosaic,
    colour_overlay,
    data_uri,
    display_range,
    luminance,
    resized,
    to_display,
)


def opened(uri):
    head, data = uri.split(",", 1)
    return head, Image.open(io.BytesIO(base64.b64decode(data)))


def test_luminance_is_that_of_scikit_image():
    image = np.random.default_rng(0).uniform(0, 1, (3, 5, 7)).astype(np.float32)
    np.testing.assert_allclose(luminance(image), rgb2gray(np.moveaxis(image, 0, -1)), atol=1e-6)


def test_other_numbers_of_channels_are_refused():
    with pytest.raises(ValueError, match="2 channels"):
        luminance(np.zeros((2, 4, 4)))


def test_range_ignores_outliers_and_values_that_are_not_finite():
    image = np.tile(np.linspace(10, 20, 1000, dtype=np.float32), (1, 4, 1))
    image[0, 0, :3] = np.nan, np.inf, 1e6
    low, high = display_range(image)
    assert low == pytest.approx(10.05, abs=0.02) and high == pytest.approx(19.95, abs=0.05)


@pytest.mark.parametrize("image", [np.full((1, 4, 4), 7.0), np.full((1, 4, 4), np.nan), np.zeros((1, 4, 4), np.uint8)])
def test_nothing_to_see_is_black(image):
    assert (to_display(image, display_range(image)) == 0).all()


def test_few_bright_pixels_are_seen():
    image = np.zeros((1, 100, 100))
    image[0, 3, 4] = 5
    assert to_display(image, display_range(image))[3, 4] == 255


def test_stored_colour_is_shown_as_it_is():
    image = np.random.default_rng(1).integers(40, 90, (3, 6, 8)).astype(np.uint8)
    np.testing.assert_array_equal(to_display(image, display_range(image)), np.moveaxis(image, 0, -1))


def test_overlay_is_magenta_green_and_grey():
    fixed, moving = np.array([[200, 0, 200]], np.uint8), np.array([[0, 200, 200]], np.uint8)
    assert colour_overlay(fixed, moving).tolist() == [[[200, 0, 200], [0, 200, 0], [200, 200, 200]]]


def test_smaller_pictures_are_means():
    pattern = np.random.default_rng(2).integers(0, 255, (2, 6, 8)).astype(np.uint8)
    means = pattern.reshape(2, 3, 2, 2, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(resized(pattern, (3, 2)), means, atol=1.01)  # rounded along each axis


def test_mosaic_holds_every_picture_in_its_place():
    stack = np.random.default_rng(3).integers(0, 255, (5, 4, 6, 3)).astype(np.uint8)
    mosaic = Mosaic.of(stack)
    head, sheet = opened(mosaic.uri)
    assert head == "data:image/png;base64" and (mosaic.height, mosaic.width) == (4, 6)
    assert mosaic.columns > 1 and mosaic.rows > 1
    for k, picture in enumerate(stack):
        row, column = divmod(k, mosaic.columns)
        np.testing.assert_array_equal(np.asarray(sheet)[4 * row : 4 * row + 4, 6 * column : 6 * column + 6], picture)


@pytest.mark.parametrize("count", [2, 4, 16, 17, 256])
def test_palette_is_kept_exactly(count):
    palette = np.random.default_rng(4).integers(0, 255, (count, 4)).astype(np.uint8)
    levels = np.arange(count, dtype=np.uint8).reshape(1, -1)
    _, picture = opened(data_uri(levels, palette=palette))
    np.testing.assert_array_equal(np.asarray(picture.convert("RGBA"))[0], palette)


def test_large_pictures_become_webp():
    rows, columns = np.indices((500, 400))
    smooth = (rows / 4 + columns / 4).astype(np.uint8)
    head, picture = opened(data_uri(smooth))
    assert smooth.size > pictures.SMALL_PIXELS and head == "data:image/webp;base64"
    assert np.abs(np.asarray(picture.convert("L")).astype(int) - smooth).max() <= 8
