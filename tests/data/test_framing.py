"""Images keep their middle and their values when they are cut, continued and resampled."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import SpatialPad
from skimage.transform import resize

from monai_cellreg.data.framing import frame_image, pixel_steps
from monai_cellreg.geometry import SamplingGrid


def noise(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).random((1, *shape), dtype=np.float32))


@pytest.mark.parametrize("shape", [(5, 8), (6, 7), (3, 4, 6)])
def test_what_is_too_small_is_padded_with_its_border_as_by_monai(shape: tuple[int, ...]) -> None:
    size, image = (9, 10, 11)[: len(shape)], noise(*shape)
    framed = frame_image(image, size, (1,) * len(shape))
    assert torch.equal(framed, SpatialPad(size, mode="edge")(image).as_tensor())


def test_what_is_too_large_loses_equally_much_at_both_ends() -> None:
    image = noise(9, 12)
    assert torch.equal(frame_image(image, (5, 4), (1, 1)), image[:, 2:7, 4:8])
    assert torch.equal(frame_image(image, (4, 9), (1, 1)), image[:, 3:7, 2:11])  # an odd rest is lost at the beginning
    assert torch.equal(frame_image(image, (13, 6), (1, 1))[:, 2:11], image[:, :, 3:9])


def test_image_of_the_right_size_is_passed_on() -> None:
    image = noise(5, 6)
    assert frame_image(image, [5, 6], (1.0, 1.0)) is image
    assert frame_image(image, [5, 6], (1.0, 2.0)) is not image


@pytest.mark.parametrize("steps", [(2.0, 1.5), (0.5, 0.25)])
def test_resampling_over_the_same_extent_is_that_of_scikit_image(steps: tuple[float, float]) -> None:
    image = noise(24, 36)
    size = tuple(round(n / s) for n, s in zip((24, 36), steps, strict=True))
    expected = resize(image[0].numpy(), size, order=1, mode="edge", anti_aliasing=steps[0] > 1)
    np.testing.assert_allclose(frame_image(image, size, steps)[0].numpy(), expected, atol=2e-6)


def test_middle_stays_the_middle_and_steps_are_kept() -> None:
    row, column = np.indices((30, 41)).astype(np.float32)
    framed = frame_image(torch.from_numpy((row + 100 * column)[None]), (4, 3), (0.8, 0.5))
    expected = (14.5 + 0.8 * (np.arange(4) - 1.5))[:, None] + 100 * (20 + 0.5 * (np.arange(3) - 1))
    np.testing.assert_allclose(framed[0].numpy(), expected, rtol=1e-6)


def test_labels_are_read_where_images_are_and_never_mixed() -> None:
    image = torch.zeros(1, 40, 50)
    image[:, 8:20, 22:44] = 7.0
    size, steps = (18, 20), (1.9, 2.3)
    label = frame_image(image.to(torch.uint8), size, steps, label=True)
    framed = frame_image(image, size, steps)
    assert label.dtype == torch.uint8 and set(label.unique().tolist()) == {0, 7}
    assert torch.equal(label > 0, framed > 3.5)  # a straight edge lies where the smoothed image has half its height
    assert torch.equal(image.unique(), torch.tensor([0.0, 7.0]))


def test_steps_of_every_unit() -> None:
    affine = np.diag([0.7, 0.35, 1.0])
    assert pixel_steps(SamplingGrid((4, 6), affine, unit="mm"), 1.4) == (2.0, 4.0)
    assert pixel_steps(SamplingGrid((4, 6), affine, unit="µm"), (0.0014, 0.0007)) == (2.0, 2.0)
    assert pixel_steps(SamplingGrid((4, 6), affine, unit="mm"), None) == (1.0, 1.0)
    assert pixel_steps(SamplingGrid((4, 6), affine), 1.4) == (1.0, 1.0)  # pixels
    stored = SamplingGrid((4, 6), np.diag([1.4000000059604645, 1.4, 1.0]), unit="mm")  # float32 of a NIfTI header
    assert pixel_steps(stored, 1.4) == (1.0, 1.0)


def test_size_of_another_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match="image_size has 3 spatial axes"):
        frame_image(noise(4, 6), (4, 4, 4), (1, 1))
    with pytest.raises(ValueError, match="spacing is"):
        pixel_steps(SamplingGrid((4, 6), unit="mm"), (1.0, 1.0, 1.0))
