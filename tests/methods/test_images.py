"""Whatever a user calls an image becomes (1, *spatial) with the same values, or is refused with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_cellreg.methods.images import as_image, in_layout

SHAPE = (5, 7)
VALUES = np.arange(35).reshape(SHAPE)


@pytest.mark.parametrize(
    ("stored", "sampled"),
    [
        ("uint8", torch.uint8),
        ("int8", torch.int8),
        ("uint16", torch.int32),
        (">u2", torch.int32),
        ("int16", torch.int16),
        (">i4", torch.int32),
        ("uint32", torch.int64),
        ("uint64", torch.int64),
        ("float16", torch.float32),
        ("float32", torch.float32),
        (">f4", torch.float32),
        ("float64", torch.float64),
        ("longdouble", torch.float64),
    ],
)
def test_array_of_any_number_type_keeps_its_values(stored: str, sampled: torch.dtype) -> None:
    image = as_image(VALUES.astype(stored), "fixed")
    assert (image.shape, image.dtype) == ((1, *SHAPE), sampled)
    np.testing.assert_array_equal(image[0].numpy(), VALUES)


def test_largest_whole_numbers_survive() -> None:
    for stored in ("uint16", "uint32"):
        image = as_image(np.full(SHAPE, np.iinfo(stored).max, stored), "fixed")
        assert int(image.max()) == int(image.min()) == np.iinfo(stored).max


def test_truth_values_become_zero_and_one() -> None:
    image = as_image(VALUES > 20, "fixed_label", label=True)
    assert image.dtype == torch.uint8
    np.testing.assert_array_equal(image[0].numpy(), (VALUES > 20).astype(int))


@pytest.mark.parametrize(
    "given",
    [VALUES.T.astype(float).T, np.stack([VALUES] * 2, -1)[..., 0], VALUES[::-1, ::-1]],
    ids=["Fortran order", "strided", "backwards"],
)
def test_memory_order_of_an_array_does_not_matter(given: np.ndarray) -> None:
    np.testing.assert_array_equal(as_image(given, "fixed")[0].numpy(), given)


def test_array_is_copied_even_when_it_cannot_be_written() -> None:
    given = VALUES.astype(np.float32)
    given.setflags(write=False)
    as_image(given, "fixed").zero_()
    np.testing.assert_array_equal(given, VALUES)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((5, 7), (1, 5, 7)),
        ((1, 5, 7), (1, 5, 7)),
        ((4, 5, 7), (1, 4, 5, 7)),
        ((1, 4, 5, 7), (1, 4, 5, 7)),
        ((1, 1, 5, 7), (1, 1, 5, 7)),
        ((4, 4, 3), (1, 4, 4, 3)),
        ((3, 4, 5), (1, 3, 4, 5)),
        ((6, 7, 3), (3, 6, 7)),
        ((6, 7, 4), (3, 6, 7)),
        ((3, 6, 7), (3, 6, 7)),
        ((1, 3, 6, 7), (1, 3, 6, 7)),
        ((5, 6, 7, 3), (3, 5, 6, 7)),
        ((4, 5, 6, 7), (3, 5, 6, 7)),
    ],
)
@pytest.mark.parametrize("make", [np.zeros, torch.zeros])
def test_channel_axis_may_be_left_out(make: Any, given: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert as_image(make(given), "fixed").shape == expected


def test_colours_keep_their_order_and_lose_their_alpha() -> None:
    values = np.random.default_rng(0).integers(0, 255, (6, 9, 4)).astype(np.uint8)
    for colour in (values, values[..., :3], np.moveaxis(values[..., :3], -1, 0)):
        image = as_image(colour, "fixed")
        np.testing.assert_array_equal(image.numpy(), np.moveaxis(values[..., :3], -1, 0))
        np.testing.assert_array_equal(
            in_layout(image.numpy(), colour), values[..., :3] if colour.shape[0] == 6 else colour
        )
    meta = as_image(MetaTensor(torch.from_numpy(np.moveaxis(values, -1, 0).copy()), affine=2 * torch.eye(4)), "fixed")
    assert isinstance(meta, MetaTensor) and meta.shape == (3, 6, 9) and meta.affine[0, 0] == 2


def test_labels_have_no_colour() -> None:
    with pytest.raises(
        ValueError, match=r"moving_label is a ndarray of shape \(20, 30, 3\); expected labels \(1, H, W\)"
    ):
        as_image(np.zeros((20, 30, 3), int), "moving_label", label=True)


def test_meta_tensor_is_given_back_with_its_affine() -> None:
    image = MetaTensor(torch.rand(1, *SHAPE), affine=torch.diag(torch.tensor([2.0, 3.0, 1.0, 1.0])))
    assert as_image(image, "fixed") is image


def test_path_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VALUES.astype(np.uint16))
    for given in (path, str(path)):
        image = as_image(given, "fixed")
        assert isinstance(image, MetaTensor) and image.dtype == torch.float32
        np.testing.assert_array_equal(image[0].numpy(), VALUES)
    assert as_image(path, "fixed_label", label=True).dtype == torch.int32
    tifffile.imwrite(path, np.zeros((5, 7, 3), np.uint8) + np.arange(3, dtype=np.uint8), photometric="rgb")
    assert as_image(path, "fixed")[:, 0, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (MetaTensor(torch.zeros(2, 20, 30)), r"fixed is a MetaTensor of shape \(2, 20, 30\); expected grey \(1, H, W"),
        (MetaTensor(torch.zeros(20, 30)), r"fixed is a MetaTensor of shape \(20, 30\); expected grey"),
        (MetaTensor(torch.zeros(20, 30, 3)), r"fixed is a MetaTensor of shape \(20, 30, 3\); expected grey"),
        (np.zeros((2, 4, 5, 6)), r"fixed is a ndarray of shape \(2, 4, 5, 6\); expected grey"),
        (np.zeros(9), r"fixed is a ndarray of shape \(9,\); expected grey"),
        (np.zeros(SHAPE, complex), "fixed has values of type complex128; expected real numbers"),
        (torch.zeros(SHAPE, dtype=torch.complex64), "fixed has values of type torch.complex64; expected real"),
        (np.full(SHAPE, "a"), "fixed has values of type <U1; expected real numbers"),
        (np.full(SHAPE, None), "fixed has values of type object; expected real numbers"),
        (np.where(VALUES == 8, np.nan, VALUES), "fixed has values that are not finite; expected numbers"),
        (np.where(VALUES == 8, np.inf, VALUES).astype(np.float16), "fixed has values that are not finite"),
        (torch.full(SHAPE, float("nan")), "fixed has values that are not finite"),
        (MetaTensor(torch.full((1, *SHAPE), float("inf"))), "fixed has values that are not finite"),
    ],
)
def test_unusable_image_is_refused(given: np.ndarray | Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_image(given, "fixed")


@pytest.mark.parametrize("given", [None, 3, [[1, 2], [3, 4]]])
def test_other_things_are_no_images(given: Any) -> None:
    text = f"moving is a {type(given).__name__}; expected a path, an array, a tensor or a MetaTensor"
    with pytest.raises(TypeError, match=text):
        as_image(given, "moving")
