"""The idx format and MNIST's sections, on files written here byte by byte."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from monai_cellreg.data import ImageReadError
from monai_cellreg.data.datasets.mnist import read_idx, read_mnist

REAL = Path(__file__).parents[4] / "shared" / "data" / "mnist"
CODES = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[array.dtype.name], array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write(folder: Path, prefix: str, count: int, *, end: str = "", dot: bool = False) -> None:
    """Images whose every pixel is their index, and classes that are the index modulo ten."""
    images = np.arange(count, dtype=np.uint8)[:, None, None] + np.zeros((1, 5, 4), dtype=np.uint8)
    for name, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", images[:, 0, 0] % 10)):
        name = name.replace("-idx", ".idx") if dot else name
        content = idx(array)
        (folder / (prefix + name + end)).write_bytes(gzip.compress(content, mtime=0) if end else content)


@pytest.mark.parametrize("dtype", list(CODES))
@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (2, 1, 3, 2)])
@pytest.mark.parametrize("packed", [False, True])
def test_every_type_and_rank_is_read(tmp_path: Path, dtype: str, shape: tuple[int, ...], packed: bool) -> None:
    array = np.random.default_rng(0).uniform(0, 120, shape).astype(dtype)
    (tmp_path / "a").write_bytes(gzip.compress(idx(array), mtime=0) if packed else idx(array))
    found = read_idx(tmp_path / "a")
    assert found.dtype == np.dtype(dtype) and found.dtype.isnative and found.flags.writeable
    np.testing.assert_array_equal(found, array)


BYTES = idx(np.zeros((3, 2), dtype=np.int16))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", r"begins with the bytes \(none\); expected the magic number"),
        (b"\0\0\x08", r"begins with the bytes 00 00 08;"),
        (b"\x89PNG" + BYTES, r"a' begins with the bytes 89 50 4e 47"),
        (b"\0\0\x0a" + BYTES[3:], r"begins with the bytes 00 00 0a 02; .* of 08, 09, 0b, 0c, 0d, 0e"),
        (BYTES[:9], r"a' ends within its header; expected 2 sizes"),
        (BYTES[:-1], r"a' holds 11 bytes of values but its sizes \(3, 2\) of 2 bytes each need 12"),
        (BYTES + b"\0", r"a' holds 13 bytes of values .* need 12"),
        (gzip.compress(BYTES, mtime=0)[:-9], r"a' cannot be decompressed"),
        (gzip.compress(BYTES, mtime=0)[:10] + b"\xff" * 20, r"a' cannot be decompressed"),
    ],
)
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes, match: str) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ImageReadError, match=match):
        read_idx(tmp_path / "a")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match="is not an existing file; expected an idx file"):
        read_idx(tmp_path / "a")


@pytest.mark.parametrize(("end", "dot"), [("", False), (".gz", False), ("", True), (".gz", True)])
def test_sections_of_the_original_files(tmp_path: Path, end: str, dot: bool) -> None:
    write(tmp_path, "train-", 20, end=end, dot=dot)
    write(tmp_path, "t10k-", 7, end=end, dot=dot)
    expected = {"train": range(17), "validation": range(17, 20), "test": range(7)}
    for section, indices in expected.items():
        images, classes = read_mnist(tmp_path, section)
        assert images.shape == (len(indices), 5, 4) and images[:, 2, 3].tolist() == list(indices)
        assert classes.tolist() == [index % 10 for index in indices]


def test_sections_of_a_single_pair_of_files(tmp_path: Path) -> None:
    write(tmp_path, "", 34, end=".gz")  # a fifth is 6, a sixth of the other 28 is 4
    expected = {"train": range(24), "validation": range(24, 28), "test": range(28, 34)}
    for section, indices in expected.items():
        images, classes = read_mnist(tmp_path, section)
        assert images[:, 0, 0].tolist() == list(indices)
        assert classes.tolist() == [index % 10 for index in indices]


def test_wrong_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not an existing folder"):
        read_mnist(tmp_path / "none", "train")
    with pytest.raises(ImageReadError, match="has no file 'images-idx3-ubyte'; expected it plain or as .gz"):
        read_mnist(tmp_path, "train")
    with pytest.raises(ValueError, match="section is 'valid', expected one of 'train', 'validation', 'test'"):
        read_mnist(tmp_path, "valid")
    write(tmp_path, "train-", 6)
    with pytest.raises(ImageReadError, match="has no file 't10k-images-idx3-ubyte'"):
        read_mnist(tmp_path, "test")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(5, dtype=np.uint8)))
    with pytest.raises(ImageReadError, match=r"images-idx3-ubyte' holds 6 images but .*ubyte' 5 classes"):
        read_mnist(tmp_path, "train")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(6, dtype=np.int16)))
    with pytest.raises(ImageReadError, match=r"labels-idx1-ubyte' holds int16 of the shape \(6,\); expected uint8"):
        read_mnist(tmp_path, "train")


@pytest.mark.skipif(not REAL.is_dir(), reason="needs digits of MNIST")
def test_real_digits() -> None:
    sections = {name: read_mnist(REAL, name) for name in ("train", "validation", "test")}
    assert [len(images) for images, _ in sections.values()] == [3334, 666, 1000]
    whole = gzip.decompress((REAL / "images-idx3-ubyte.gz").read_bytes())
    assert whole[16:] == b"".join(images.tobytes() for images, _ in sections.values())
    assert all(sorted(set(classes.tolist())) == list(range(10)) for _, classes in sections.values())
