"""NumPy files."""

from pathlib import Path

import numpy as np
import pytest

from monai_cellreg.data import ImageReadError, read_image, read_label, write_image

STACK = np.random.default_rng(0).integers(0, 999, (3, 7, 11)).astype(np.int16)


def test_images_and_volumes_come_back_in_their_type(tmp_path: Path) -> None:
    for array in (STACK, STACK[0], STACK[0].astype(">f8"), STACK[0] > 400):
        np.save(tmp_path / "a.npy", array)
        np.savez(tmp_path / "a.npz", pixels=array)
        for name in ("npy", "npz"):
            image = read_image(tmp_path / f"a.{name}")
            np.testing.assert_array_equal(image[0], array.astype(np.float32))
            write_image(tmp_path / f"b.{name}", image + 0.2)
        back = [np.load(tmp_path / "b.npy"), np.load(tmp_path / "b.npz")["pixels"]]
        for written in back:
            assert written.dtype == array.dtype.newbyteorder("=")
            np.testing.assert_allclose(written, array + (0.2 if array.dtype.kind == "f" else 0), rtol=1e-6)


def test_colour_is_told_from_a_volume(tmp_path: Path) -> None:
    colour = np.random.default_rng(1).integers(0, 255, (7, 11, 3)).astype(np.uint8)
    np.save(tmp_path / "a.npy", colour)
    image = read_image(tmp_path / "a.npy", color="keep")
    np.testing.assert_array_equal(image, np.moveaxis(colour, -1, 0))
    write_image(tmp_path / "b.npy", image)
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), colour)
    np.save(tmp_path / "a.npy", colour.astype(np.float32))
    assert read_image(tmp_path / "a.npy").shape == (1, 7, 11, 3)


def test_what_is_no_image(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=STACK, b=STACK)
    np.save(tmp_path / "text.npy", np.array(["a", "b"]))
    np.save(tmp_path / "pickle.npy", np.array([{}, None]), allow_pickle=True)
    np.save(tmp_path / "line.npy", STACK[0, 0])
    for name, text in [
        ("two.npz", r"holds 2 arrays \(a, b\); expected one"),
        ("text.npy", "values of type <U1"),
        ("pickle.npy", "cannot be read"),
        ("line.npy", r"shape \(11,\); expected a non-empty 2D or 3D"),
    ]:
        with pytest.raises(ImageReadError, match=text):
            read_label(tmp_path / name)
