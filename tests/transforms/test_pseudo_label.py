"""Pseudo-labels, against the shapes that the pictures were made from."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, zoom

from monai_cellreg.transforms.pseudo_label import pseudo_label


def ellipse(shape=(96, 128), centre=(50, 60), radii=(20, 30)) -> np.ndarray:
    grid = np.indices(shape)
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) <= 1


def picture(levels: np.ndarray, blur: float = 1.5, noise: float = 0.01) -> torch.Tensor:
    camera = np.random.default_rng(0).normal(0, noise, levels.shape)
    return torch.from_numpy(gaussian_filter(levels, blur) + camera)[None]


def iou(mask: torch.Tensor, truth: np.ndarray) -> float:
    found = mask[0].numpy() > 0
    return (found & truth).sum() / (found | truth).sum()


def even() -> tuple[torch.Tensor, np.ndarray]:
    """An evenly bright nucleus in a halo of its own light, as wide-field microscopes show."""
    truth = ellipse()
    return picture(truth + 0.25 * gaussian_filter(truth.astype(float), 12)), truth


def textured() -> tuple[torch.Tensor, np.ndarray]:
    """A dim nucleus with chromatin five times as bright in one part."""
    truth = ellipse()
    chromatin = truth & ellipse(centre=(46, 48), radii=(13, 14))
    return picture(0.02 + 0.18 * truth + gaussian_filter(chromatin * 0.8, 4) * truth), truth


@pytest.mark.parametrize("make", [even, textured])
def test_auto_finds_the_whole_nucleus_whatever_its_texture(make):
    image, truth = make()
    mask = pseudo_label(image)
    assert (mask.shape, mask.dtype) == (image.shape, torch.float32)
    assert mask.unique().tolist() == [0, 1]
    assert iou(mask, truth) > 0.9


def test_each_single_method_fails_on_one_of_the_two():
    """What makes the choice worth having: Otsu loses dim parts, the logarithm and the triangle take in the halo."""
    assert iou(pseudo_label(textured()[0], method="otsu"), textured()[1]) < 0.6
    assert iou(pseudo_label(textured()[0], method="otsu_log"), textured()[1]) > 0.9
    assert iou(pseudo_label(even()[0], method="otsu"), even()[1]) > 0.9
    assert iou(pseudo_label(even()[0], method="otsu_log"), even()[1]) < 0.85
    assert iou(pseudo_label(even()[0], method="triangle"), even()[1]) < 0.85


@pytest.mark.parametrize(("gain", "offset"), [(1000, -40), (0.001, 7)])
def test_gain_and_offset_of_the_camera_do_not_matter(gain, offset):
    for image, _ in (even(), textured()):
        assert iou(pseudo_label(image * gain + offset), pseudo_label(image)[0].numpy() > 0) > 0.995


@pytest.mark.parametrize("scale", [0.4, 3])
def test_magnification_does_not_change_the_choice(scale):
    for image, truth in (even(), textured()):
        larger = torch.from_numpy(zoom(image[0].numpy(), scale, order=1, mode="nearest", grid_mode=True))[None]
        assert iou(pseudo_label(larger), zoom(truth, scale, order=0, mode="nearest", grid_mode=True)) > 0.88


def test_turning_the_picture_turns_the_mask():
    image, _ = textured()
    assert torch.equal(pseudo_label(image.transpose(1, 2)), pseudo_label(image).transpose(1, 2))


def test_holes_are_filled_and_specks_and_whiskers_removed():
    truth = ellipse()
    levels = truth & ~ellipse(centre=(50, 60), radii=(8, 12))  # a ring
    levels[5:17, 5:17] = True  # a speck
    levels[49:52, 88:126] = True  # a whisker
    mask = pseudo_label(picture(levels.astype(float), blur=0.5), method="otsu")
    assert iou(mask, truth) > 0.95
    assert mask[0, 5:17, 5:17].sum() == 0
    assert mask[0, :, 100:].sum() == 0


def test_several_nuclei_are_all_found():
    truth = ellipse(centre=(30, 30), radii=(15, 12)) | ellipse(centre=(65, 95), radii=(12, 16))
    assert iou(pseudo_label(picture(truth.astype(float))), truth) > 0.9


def test_volumes():
    truth = ellipse((20, 40, 36), (10, 22, 17), (6, 12, 10))
    assert iou(pseudo_label(picture(truth.astype(float), blur=0.7)), truth) > 0.85


@pytest.mark.parametrize("method", ["auto", "otsu", "otsu_log", "triangle"])
def test_an_empty_picture_gives_an_empty_mask(method):
    assert pseudo_label(torch.full((1, 30, 40), 3.0), method=method).sum() == 0


def test_wrong_arguments():
    with pytest.raises(ValueError, match="method is 'otsu-log', expected one of 'auto'.*did you mean 'otsu_log'"):
        pseudo_label(torch.rand(1, 20, 30), method="otsu-log")
    with pytest.raises(ValueError, match=r"shape \(2, 20, 30\); expected \(1, \*S\)"):
        pseudo_label(torch.rand(2, 20, 30))
    with pytest.raises(ValueError, match="NaN or infinite"):
        pseudo_label(torch.full((1, 20, 30), float("nan")))
