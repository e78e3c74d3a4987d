"""Reading between voxels agrees with SciPy and MONAI, keeps types, labels and precision, and has gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from monai_cellreg.geometry import sample, warp

SHAPES = [(7, 11), (1, 9), (8, 1), (5, 6, 9), (5, 1, 4), (1, 1, 6)]
SCIPY_PADDINGS = {"border": "nearest", "zeros": "grid-constant", "reflection": "mirror"}


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def coordinates(shape: tuple[int, ...], *lead: int) -> torch.Tensor:
    """Index coordinates that also lie outside, by up to two voxels."""
    return drawn(*lead, len(shape), seed=1) * (torch.tensor(shape) + 3) - 2


@pytest.mark.parametrize("padding", SCIPY_PADDINGS)
@pytest.mark.parametrize(("mode", "order"), [("linear", 1), ("nearest", 0)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sample_agrees_with_scipy(shape: tuple[int, ...], mode: str, order: int, padding: str) -> None:
    image, index = drawn(1, 2, *shape), coordinates(shape, 1, 50)
    read = sample(image, index, mode=mode, padding=padding)
    for channel in range(2):
        expected = map_coordinates(
            image[0, channel].numpy(), index[0].T.numpy(), order=order, mode=SCIPY_PADDINGS[padding]
        )
        np.testing.assert_allclose(read[0, channel], expected, rtol=0, atol=1e-12)


def test_any_shape_of_coordinates() -> None:
    image, index = drawn(1, 3, 7, 11), coordinates((7, 11), 1, 24)
    flat = sample(image, index)
    assert flat.shape == (1, 3, 24)
    for out in ((4, 6), (2, 3, 4)):
        torch.testing.assert_close(
            sample(image, index.reshape(1, *out, 2)), flat.reshape(1, 3, *out), rtol=0, atol=1e-15
        )


def test_one_image_or_one_set_of_coordinates_serves_all() -> None:
    images, index = drawn(3, 2, 7, 11), coordinates((7, 11), 3, 20)
    both = sample(images, index)
    for row in range(3):
        one_image, one_index = sample(images[row : row + 1], index), sample(images, index[row : row + 1])
        torch.testing.assert_close(one_image[row], both[row], rtol=0, atol=0)
        torch.testing.assert_close(one_index[row], both[row], rtol=0, atol=0)
        assert one_image.shape == one_index.shape == (3, 2, 20)
    with pytest.raises(
        ValueError, match="^image holds 3 images but index holds 2 sets of coordinates; expected as many"
    ):
        sample(images, index[:2])


@pytest.mark.parametrize(
    ("dtype", "largest"),
    [
        (torch.bool, 1),
        (torch.uint8, 255),
        (torch.uint16, 65535),
        (torch.int32, 2**31 - 1),
        (torch.uint32, 2**32 - 1),
        (torch.int64, 2**53 - 1),
    ],
)
def test_labels_stay_what_they_are(dtype: torch.dtype, largest: int) -> None:
    values = [largest, 0, largest - 1, largest]
    labels = torch.tensor(values, dtype=torch.int64).to(dtype).reshape(1, 1, 2, 2)
    index = torch.tensor([[[0.2, 0.1], [0.4, 0.9], [0.9, -3.0], [5.0, 5.0]]])
    read = sample(labels, index, mode="nearest")
    assert read.dtype == dtype
    assert read.long().flatten().tolist() == values


def test_whole_numbers_are_rounded_not_cut() -> None:
    image = torch.tensor([[[[10, 20]]]], dtype=torch.uint8)
    assert sample(image, torch.tensor([[[0.0, 0.36]]])).item() == 14  # 13.6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_float_type_is_kept(dtype: torch.dtype) -> None:
    image = drawn(1, 1, 7, 11).to(dtype)
    index = coordinates((7, 11), 1, 20)
    read = sample(image, index.float())
    assert read.dtype == dtype
    error = (read.double() - sample(image.double(), index)).abs().max()
    assert error < max(torch.finfo(dtype).eps, 1e-6)


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5)])
def test_gradients_of_image_and_coordinates(shape: tuple[int, ...]) -> None:
    image = drawn(2, 2, *shape).requires_grad_()
    index = (0.1 + 0.8 * drawn(2, 6, len(shape), seed=2) + torch.tensor([1, 2, 0][: len(shape)])).requires_grad_()
    assert torch.autograd.gradcheck(sample, (image, index))
    (gradient,) = torch.autograd.grad(sample(image, index, mode="nearest").sum(), index)
    assert gradient.abs().max() == 0


def test_autocast_does_not_round_coordinates() -> None:
    width = 2050  # bfloat16 holds no odd column beyond 256
    image = torch.arange(width, dtype=torch.float32).expand(1, 1, 3, width)
    index = torch.stack([torch.ones(width), torch.arange(width) + 0.25], dim=-1)[None]
    field = torch.zeros(1, 2, 3, width, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        read, still = sample(image, index), warp(image, field)
    expected = (torch.arange(width) + 0.25).clamp_max(width - 1)
    assert (read[0, 0] - expected).abs().max() < 1e-3
    assert (still - image).abs().max() < 1e-3


@pytest.mark.parametrize("padding", SCIPY_PADDINGS)
@pytest.mark.parametrize("mode", ["linear", "nearest", "bicubic", "cubic"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_warp_is_sample_at_x_plus_displacement(shape: tuple[int, ...], mode: str, padding: str) -> None:
    if mode == "bicubic" and len(shape) == 3:
        pytest.skip("of images only")
    image, field = drawn(2, 3, *shape), 4 * drawn(2, len(shape), *shape, seed=3) - 2
    identity = torch.stack(torch.meshgrid(*[torch.arange(s) for s in shape], indexing="ij"), dim=-1)
    expected = sample(image, identity + field.movedim(1, -1), mode=mode, padding=padding)
    torch.testing.assert_close(warp(image, field, mode=mode, padding=padding), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("padding", SCIPY_PADDINGS)
def test_no_displacement_loses_nothing_even_far_out(padding: str) -> None:
    image = drawn(1, 1, 3, 2048).float()
    still = warp(image, torch.zeros(1, 2, 3, 2048), padding=padding)
    index = torch.tensor([[[0.0, 0], [0, 2047], [2, 0], [2, 2047]]])
    corners = sample(image, index, padding=padding)
    torch.testing.assert_close(corners[0, 0], image[0, 0, ::2, ::2047].flatten(), rtol=0, atol=0)
    torch.testing.assert_close(still[..., ::2, ::2047], image[..., ::2, ::2047], rtol=0, atol=0)
    assert (still - image).abs().max() < 2e-4


def test_coordinates_of_large_images_are_as_fine_as_float32_allows() -> None:
    width = 2048
    image = torch.sin(torch.arange(width) / 40).expand(1, 1, 2, width)  # a fortieth of its range from pixel to pixel
    field = 20 * drawn(1, 2, 2, width, seed=3).float() - 10
    error = warp(image, field).double() - warp(image.double(), field.double())
    assert error.abs().max() < 1e-5


def test_warp_reads_at_x_plus_displacement() -> None:
    image = drawn(1, 1, 6, 9)
    field = torch.tensor([2.0, -1.0], dtype=torch.float64).reshape(1, 2, 1, 1).expand(1, 2, 6, 9)
    warped = warp(image, field)
    torch.testing.assert_close(warped[..., :4, 1:], image[..., 2:, :8], rtol=0, atol=1e-12)
    torch.testing.assert_close(warped[..., 4:, 1:], image[..., -1:, :8].expand(1, 1, 2, 8), rtol=0, atol=1e-12)
    assert warp(image, field, padding="zeros")[..., 4:, :].abs().max() == 0


def test_warp_of_another_size_reads_from_the_first_voxel() -> None:
    image = drawn(1, 2, 6, 9)
    torch.testing.assert_close(
        warp(image, torch.zeros(1, 2, 4, 5, dtype=torch.float64)), image[..., :4, :5], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5)])
def test_gradients_of_warp(shape: tuple[int, ...]) -> None:
    image = drawn(1, 1, *shape).requires_grad_()
    field = (0.1 + 0.3 * drawn(1, len(shape), *shape, seed=3)).requires_grad_()
    inner = (..., *[slice(0, s - 1) for s in shape])  # no voxel on the border, where the slope jumps
    assert torch.autograd.gradcheck(lambda i, f: warp(i, f)[inner], (image, field))


def test_images_are_not_modified() -> None:
    image, index = drawn(1, 1, 6, 9), coordinates((6, 9), 1, 20)
    before = image.clone(), index.clone()
    sample(image, index)
    warp(image, index.reshape(1, 2, 4, 5))
    torch.testing.assert_close((image, index), before, rtol=0, atol=0)


def test_misfits_are_refused() -> None:
    image = torch.zeros(1, 1, 6, 9)
    with pytest.raises(
        ValueError, match=r"^index has 3 components but the image has 2 axes \(shape 1x1x6x9\); expected"
    ):
        sample(image, torch.zeros(1, 5, 3))
    with pytest.raises(ValueError, match=r"^index has 2 components but the image has 1 axes"):
        sample(image[0], torch.zeros(1, 5, 2))
    with pytest.raises(ValueError, match=r"^mode is 'bilinear', expected one of 'linear', 'nearest', .* did you mean"):
        sample(image, torch.zeros(1, 5, 2), mode="bilinear")
    with pytest.raises(ValueError, match=r"^mode is 'bicubic' but the image has 3 axes .* expected 2 axes"):
        sample(image[None], torch.zeros(1, 5, 3), mode="bicubic")
    with pytest.raises(ValueError, match=r"^padding is 'zero', expected one of .* did you mean 'zeros'"):
        warp(image, torch.zeros(1, 2, 6, 9), padding="zero")
    with pytest.raises(ValueError, match="^image holds 3 images but index holds 2 sets"):
        warp(image.expand(3, -1, -1, -1), torch.zeros(2, 2, 6, 9))
    for shape in ((1, 3, 6, 9), (2, 6, 9), (1, 2, 6, 9, 4)):
        with pytest.raises(
            ValueError, match=r"^displacement_vox has shape .* but the image has 2 axes \(shape 1x1x6x9\)"
        ):
            warp(image, torch.zeros(shape))


@pytest.mark.parametrize("padding", ["border", "zeros", "reflection"])
@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("shape", [(10, 12), (40, 35, 33)], ids=["2d", "3d"])
def test_lost_coordinates_read_nan_and_harm_no_other_voxel(shape: tuple[int, ...], mode: str, padding: str) -> None:
    """PyTorch alone reads some voxel there, and its backward pass on the CPU may end the process."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 1, *shape, generator=generator, requires_grad=True)
    field = torch.rand(1, len(shape), *shape, generator=generator)
    place = (slice(None), slice(None), *[size // 2 for size in shape])
    expected = warp(image, field, mode=mode, padding=padding)
    lost = torch.zeros(shape, dtype=torch.bool)
    lost[place[2:]] = True
    broken = field.clone()
    broken[:, 0][:, lost] = torch.nan
    broken.requires_grad_()
    warped = warp(image, broken, mode=mode, padding=padding)
    assert bool(warped[..., lost].isnan().all())
    torch.testing.assert_close(warped[..., ~lost], expected[..., ~lost], rtol=0, atol=1e-5)
    if mode == "linear":
        of_image, of_field = torch.autograd.grad(warped[..., ~lost].sum(), (image, broken))
        assert of_image.isfinite().all() and of_field.isfinite().all()
