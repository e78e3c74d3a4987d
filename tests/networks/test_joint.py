"""What the joint network gives is consistent in itself: maps, warped images, both directions, paths of gradients."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor, nn

from monai_cellreg.losses import CycleConsistencyLoss, PairSegmentationLoss, TransformationLoss
from monai_cellreg.networks import JointSegmentationRegistration

NARROW = (4, 4, 8, 8, 8, 4)
FLAT, VOLUME = (32, 64), (32, 32, 32)
PER_VOXEL = ("logits", "heat_map")
VARIANTS = {
    "spline": (FLAT, {"control_shape": (4, 5)}),
    "affine": (FLAT, {"control_shape": None}),
    "spline 3D": (VOLUME, {"control_shape": (3, 3, 2)}),
    "affine 3D": (VOLUME, {"control_shape": None}),
    "soft": (FLAT, {"control_shape": (5, 5), "soft_heat_maps": True}),
    "two channels": (FLAT, {"in_channels": 2}),
    "segmentations given": (FLAT, {"segment": False}),
}
EVERY_VARIANT = pytest.mark.parametrize("size, options", VARIANTS.values(), ids=VARIANTS)


def joint(size: tuple[int, ...] = FLAT, **options: Any) -> JointSegmentationRegistration:
    """A network that displaces by a few voxels, as after some training, with settled batch statistics."""
    torch.manual_seed(0)
    network = JointSegmentationRegistration(size, features=NARROW, **options)
    nn.init.normal_(network.regressor.out.weight, std=0.02)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.momentum = 1.0
    network(*images(size, options.get("in_channels", 1)))
    return network.eval()


def images(size: tuple[int, ...], channels: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    fixed, moving = torch.rand(2, 3, channels, *size, generator=generator)
    return fixed, moving


def read_by_scipy(image: Tensor, field: Tensor) -> np.ndarray:
    """Every channel of images (B, C, *size) read at ``x + field(x)``, linearly, with the border continued."""
    where = np.indices(image.shape[2:]) + field.detach().numpy().astype(np.float64)
    return np.stack(
        [
            [map_coordinates(channel, at, order=1, mode="nearest") for channel in channels]
            for channels, at in zip(image.detach().numpy().astype(np.float64), where, strict=True)
        ]
    )


@EVERY_VARIANT
def test_names_and_shapes(size: tuple[int, ...], options: dict[str, Any]) -> None:
    network = joint(size, **options)
    fixed, moving = images(size, options.get("in_channels", 1))
    shapes = {name: tuple(value.shape) for name, value in network(fixed, moving).items()}
    flat, field = (3, 1, *size), (3, len(size), *size)
    expected = {f"{side}_{what}": flat for side in ("fixed", "moving") for what in PER_VOXEL}
    expected |= {f"warped_{side}": tuple(fixed.shape) for side in ("fixed", "moving")}
    expected |= {f"warped_{side}_heat_map": flat for side in ("fixed", "moving")}
    expected |= {"fixed_to_moving": field, "moving_to_fixed": field}
    assert shapes == expected | {"parameters": (3, *network.field.parameter_shape)}


def test_starts_at_the_identity() -> None:
    fixed, moving = images(FLAT)
    out = JointSegmentationRegistration(FLAT, features=NARROW)(fixed, moving)
    assert out["fixed_to_moving"].eq(0).all() and out["moving_to_fixed"].eq(0).all()
    torch.testing.assert_close(out["warped_moving"], moving, rtol=0, atol=1e-5)
    torch.testing.assert_close(out["warped_fixed"], fixed, rtol=0, atol=1e-5)


@EVERY_VARIANT
def test_warped_side_is_that_side_read_through_the_map(size: tuple[int, ...], options: dict[str, Any]) -> None:
    network = joint(size, **options)
    fixed, moving = images(size, options.get("in_channels", 1))
    out = network(fixed, moving)
    assert 1 < out["fixed_to_moving"].abs().max() < 30
    for side, image, field in (("moving", moving, "fixed_to_moving"), ("fixed", fixed, "moving_to_fixed")):
        for name, given in ((f"warped_{side}", image), (f"warped_{side}_heat_map", out[f"{side}_heat_map"])):
            expected = read_by_scipy(given, out[field])
            np.testing.assert_allclose(out[name].detach().numpy(), expected, rtol=0, atol=1e-4)


@EVERY_VARIANT
def test_field_is_the_transform_that_the_parameters_mean(size: tuple[int, ...], options: dict[str, Any]) -> None:
    network = joint(size, **options)
    out = network(*images(size, options.get("in_channels", 1)))
    axes = [np.linspace(-1, 1, s) for s in size]
    cube = torch.from_numpy(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(1, -1, len(size)))
    moved = network.field.transform(out["parameters"].detach()).points(cube) - cube
    in_voxels = (moved * (torch.tensor(size) - 1) / 2).transpose(1, 2).reshape(3, len(size), *size)
    torch.testing.assert_close(out["fixed_to_moving"].double(), in_voxels, rtol=0, atol=2e-3)


def test_given_segmentations_are_the_heat_maps_and_the_regressor_is_all_there_is() -> None:
    network = joint(segment=False)
    fixed, moving = ((image > 0.6).float() for image in images(FLAT))
    out = network(fixed, moving)
    torch.testing.assert_close(out["fixed_heat_map"], fixed, rtol=0, atol=2e-4)
    torch.testing.assert_close(out["moving_heat_map"], moving, rtol=0, atol=2e-4)
    torch.testing.assert_close(out["parameters"], network.regressor(torch.cat([fixed, moving], dim=1)))
    assert network.state_dict().keys() == {f"regressor.{name}" for name in network.regressor.state_dict()}


def test_heat_maps_are_the_logistic_function_of_the_logits() -> None:
    out = joint()(*images(FLAT))
    for side in ("fixed", "moving"):
        expected = 1 / (1 + np.exp(-out[f"{side}_logits"].detach().numpy()))
        np.testing.assert_allclose(out[f"{side}_heat_map"].detach().numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("soft", [False, True])
def test_exchanged_images_exchange_the_directions(soft: bool) -> None:
    network = joint(soft_heat_maps=soft)
    fixed, moving = images(FLAT)
    one, other = network(fixed, moving), network(moving, fixed)
    assert (one["fixed_to_moving"] - one["moving_to_fixed"]).abs().max() > 0.1
    for name in one.keys() - {"parameters"}:
        mirror = re.sub("fixed|moving", lambda side: {"fixed": "moving", "moving": "fixed"}[side[0]], name)
        torch.testing.assert_close(one[name], other[mirror], rtol=0, atol=1e-5)


def gradient_of(part: nn.Module) -> float:
    return sum(float(p.grad.abs().sum()) for p in part.parameters() if p.grad is not None)


@pytest.mark.parametrize("soft", [False, True])
def test_transformation_loss_reaches_the_segmentation_through_soft_heat_maps_only(soft: bool) -> None:
    network = joint(soft_heat_maps=soft)
    field = network(*images(FLAT))["fixed_to_moving"]
    TransformationLoss()(field, field.detach() + 1).backward()
    assert gradient_of(network.regressor) > 0
    assert (gradient_of(network.segmentation) > 0) == soft


@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_cycle_loss_reaches_segmentation_and_regressor(alpha: float) -> None:
    network = joint()
    fixed, moving = images(FLAT)
    out = network(fixed, moving)
    CycleConsistencyLoss(alpha)(
        (out["fixed_heat_map"], out["moving_heat_map"]),
        (out["warped_moving_heat_map"], out["warped_fixed_heat_map"]),
        (fixed, moving),
        (out["warped_moving"], out["warped_fixed"]),
    ).backward()
    assert gradient_of(network.segmentation) > 0
    assert gradient_of(network.regressor) > 0


def test_segmentation_loss_does_not_reach_the_regressor() -> None:
    network = joint()
    out = network(*images(FLAT))
    label = torch.zeros_like(out["fixed_logits"])
    PairSegmentationLoss()(out["fixed_logits"], label, out["moving_logits"], label).backward()
    assert gradient_of(network.segmentation) > 0
    assert gradient_of(network.regressor) == 0


def test_coordinates_stay_float32_under_autocast() -> None:
    network = joint()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = network(*images(FLAT))
    assert {value.dtype for value in out.values()} == {torch.float32}
    moved = network.field(out["parameters"])
    torch.testing.assert_close(out["fixed_to_moving"], moved, rtol=0, atol=1e-5)


def test_image_of_another_size_is_refused() -> None:
    text = (
        "image has shape (2, 1, 64, 32) but the network takes (B, C, *(32, 64)); expected images resized to image_size"
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        joint()(torch.rand(1, 1, 64, 32), torch.rand(1, 1, 64, 32))


def test_size_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"spatial_size is \(100, 64\); expected sizes divisible by 32, such as \(96, 64\)"
    ):
        JointSegmentationRegistration((100, 64))
