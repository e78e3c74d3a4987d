"""PNG, JPEG and GIF where Pillow alone would lose something."""

from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image, ImageCms

from monai_cellreg.data import read_image, write_image
from monai_cellreg.data.readers import page_count

RNG = np.random.default_rng(0)


def test_colour_of_16_bits(tmp_path: Path) -> None:
    deep = RNG.integers(0, 65535, (7, 11, 3)).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(deep))
    image = read_image(tmp_path / "a.png", color="keep")
    np.testing.assert_array_equal(image, np.moveaxis(deep, -1, 0).astype(np.float32))
    write_image(tmp_path / "b.png", image)
    np.testing.assert_array_equal(imagecodecs.png_decode((tmp_path / "b.png").read_bytes()), deep)


def test_resolution_and_profile_are_kept(tmp_path: Path) -> None:
    colour = RNG.integers(0, 255, (16, 24, 3)).astype(np.uint8)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name in ("png", "jpg"):
        Image.fromarray(colour).save(tmp_path / f"a.{name}", dpi=(300, 150), icc_profile=profile)
        write_image(tmp_path / f"b.{name}", read_image(tmp_path / f"a.{name}", color="keep"))
        with Image.open(tmp_path / f"b.{name}") as file:
            np.testing.assert_allclose([float(x) for x in file.info["dpi"]], (300, 150), atol=0.1)
            assert file.info["icc_profile"] == profile


def test_gif_frames_are_pages(tmp_path: Path) -> None:
    frames = [np.kron(RNG.integers(0, 255, (3, 4)), np.ones((5, 5))).astype(np.uint8) for _ in range(3)]
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:])
    assert page_count(tmp_path / "a.gif") == 3
    for page in (2, 0, 1):
        np.testing.assert_allclose(read_image(tmp_path / "a.gif", page=page)[0], frames[page], atol=1e-3)
