"""What the joint network gives is consistent in itself: maps, warped images, both directions, paths of gradients."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor, nn

from monai_cellreg.geometry import warp
from monai_cellreg.losses import CycleConsistencyLoss, MultiScaleFlowLoss, PairSegmentationLoss, TransformationLoss
from monai_cellreg.networks import JointSegmentationRegistration

NARROW = (4, 4, 8, 8, 8, 4)
FLAT, VOLUME = (32, 64), (32, 32, 32)
PER_VOXEL = ("logits", "heat_map")
REGISTERED = ("masks", "heat_maps", "heat_maps_and_images")
TRANSFORMERS = ("affine", "gaussian", "tps", "flownet", "affine_flownet", "gaussian_flownet", "tps_flownet")
VARIANTS = {
    **{name: (FLAT, {"transformer": name, "control_shape": (4, 5)}) for name in TRANSFORMERS},
    "three stages": (FLAT, {"transformer": "affine_tps_flownet"}),
    "tps 3D": (VOLUME, {"control_shape": (3, 3, 2)}),
    "affine 3D": (VOLUME, {"transformer": "affine"}),
    "tps_flownet 3D": (VOLUME, {"transformer": "tps_flownet", "control_shape": (3, 2, 3)}),
    "heat maps": (FLAT, {"control_shape": (5, 5), "registers": "heat_maps"}),
    "heat maps and images": (FLAT, {"registers": "heat_maps_and_images", "transformer": "tps_flownet"}),
    "heat maps and images of two channels": (FLAT, {"registers": "heat_maps_and_images", "in_channels": 2}),
    "two channels": (FLAT, {"in_channels": 2, "transformer": "tps_flownet"}),
    "segmentations given": (FLAT, {"segment": False}),
    "segmentations given to a cascade": (FLAT, {"segment": False, "transformer": "tps_flownet"}),
}
Joint = Callable[..., JointSegmentationRegistration]
EVERY_VARIANT = pytest.mark.parametrize("size, options", VARIANTS.values(), ids=VARIANTS)


@pytest.fixture
def joint(settled: Callable[..., nn.Module]) -> Joint:
    """Gives a function that makes a network that displaces by a few voxels, with settled batch statistics."""

    def made(size: tuple[int, ...] = FLAT, **options: Any) -> JointSegmentationRegistration:
        torch.manual_seed(0)
        network = JointSegmentationRegistration(size, features=NARROW, **options)
        settled(network, *images(size, options.get("in_channels", 1)), cascade=network.registration)
        return network

    return made


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
def test_names_and_shapes(joint: Joint, size: tuple[int, ...], options: dict[str, Any]) -> None:
    network = joint(size, **options)
    fixed, moving = images(size, options.get("in_channels", 1))
    shapes = {name: tuple(value.shape) for name, value in network(fixed, moving).items()}
    flat, field = (3, 1, *size), (3, len(size), *size)
    expected = {f"{side}_{what}": flat for side in ("fixed", "moving") for what in PER_VOXEL}
    expected |= {f"warped_{side}": tuple(fixed.shape) for side in ("fixed", "moving")}
    expected |= {f"warped_{side}_heat_map": flat for side in ("fixed", "moving")}
    expected |= {"fixed_to_moving": field, "moving_to_fixed": field}
    names = options.get("transformer", "tps").split("_")
    estimates = sum(3 if name == "flownet" else 1 for name in names)
    assert shapes == expected | {"estimates": (3, estimates, *field[1:])}


def test_starts_at_the_identity() -> None:
    fixed, moving = images(FLAT)
    out = JointSegmentationRegistration(FLAT, features=NARROW)(fixed, moving)
    assert out["fixed_to_moving"].eq(0).all() and out["moving_to_fixed"].eq(0).all()
    torch.testing.assert_close(out["warped_moving"], moving, rtol=0, atol=1e-5)
    torch.testing.assert_close(out["warped_fixed"], fixed, rtol=0, atol=1e-5)


@EVERY_VARIANT
def test_warped_side_is_that_side_read_through_the_map(
    joint: Joint, size: tuple[int, ...], options: dict[str, Any]
) -> None:
    network = joint(size, **options)
    fixed, moving = images(size, options.get("in_channels", 1))
    out = network(fixed, moving)
    assert 1 < out["fixed_to_moving"].abs().max() < 30
    for side, image, field in (("moving", moving, "fixed_to_moving"), ("fixed", fixed, "moving_to_fixed")):
        for name, given in ((f"warped_{side}", image), (f"warped_{side}_heat_map", out[f"{side}_heat_map"])):
            expected = read_by_scipy(given, out[field])
            np.testing.assert_allclose(out[name].detach().numpy(), expected, rtol=0, atol=1e-4)


@EVERY_VARIANT
def test_maps_are_what_the_cascade_finds_of_what_it_is_given(
    joint: Joint, size: tuple[int, ...], options: dict[str, Any]
) -> None:
    network, given = joint(size, **options), images(size, options.get("in_channels", 1))
    out = network(*given)
    registers = options.get("registers", "masks")
    sides = []
    for image, side in zip(given, ("fixed", "moving"), strict=True):
        heat_map = out[f"{side}_heat_map"]
        seen = {"masks": [heat_map.gt(0.5).float()], "heat_maps": [heat_map], REGISTERED[2]: [heat_map, image]}
        sides.append(torch.cat(seen[registers], dim=1))
    fixed, moving = sides
    there, back = network.registration(fixed, moving), network.registration(moving, fixed)
    assert out["estimates"].shape[1] == len(there.fields)
    for k, field in enumerate(there.fields):
        torch.testing.assert_close(out["estimates"][:, k], field, rtol=0, atol=1e-3)
    assert torch.equal(out["estimates"][:, -1], out["fixed_to_moving"])
    torch.testing.assert_close(out["moving_to_fixed"], back.fields[-1], rtol=0, atol=1e-3)


@pytest.mark.parametrize("transformer", TRANSFORMERS)
def test_given_segmentations_are_the_heat_maps_and_the_registration_is_all_there_is(
    joint: Joint, transformer: str
) -> None:
    network = joint(segment=False, transformer=transformer)
    fixed, moving = ((image > 0.6).float() for image in images(FLAT))
    out = network(fixed, moving)
    torch.testing.assert_close(out["fixed_heat_map"], fixed, rtol=0, atol=2e-4)
    torch.testing.assert_close(out["moving_heat_map"], moving, rtol=0, atol=2e-4)
    torch.testing.assert_close(
        out["fixed_to_moving"], network.registration(fixed, moving).fields[-1], rtol=0, atol=1e-4
    )
    assert network.takes_segmentations and not joint(transformer=transformer).takes_segmentations
    assert network.state_dict().keys() == {f"registration.{name}" for name in network.registration.state_dict()}


def test_weights_of_a_registration_alone_fit_the_joint_network(joint: Joint) -> None:
    alone, whole = (joint(segment=segment, transformer="affine_flownet").state_dict() for segment in (False, True))
    assert {name: value.shape for name, value in alone.items()} == {
        name: value.shape for name, value in whole.items() if not name.startswith("segmentation.")
    }


def test_heat_maps_are_the_logistic_function_of_the_logits(joint: Joint) -> None:
    out = joint()(*images(FLAT))
    for side in ("fixed", "moving"):
        expected = 1 / (1 + np.exp(-out[f"{side}_logits"].detach().numpy()))
        np.testing.assert_allclose(out[f"{side}_heat_map"].detach().numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("registers", REGISTERED)
def test_exchanged_images_exchange_the_directions(joint: Joint, registers: str) -> None:
    network = joint(registers=registers)
    fixed, moving = images(FLAT)
    one, other = network(fixed, moving), network(moving, fixed)
    assert (one["fixed_to_moving"] - one["moving_to_fixed"]).abs().max() > 0.1
    for name in one.keys() - {"estimates"}:
        mirror = re.sub("fixed|moving", lambda side: {"fixed": "moving", "moving": "fixed"}[side[0]], name)
        torch.testing.assert_close(one[name], other[mirror], rtol=0, atol=1e-5)


def gradient_of(part: nn.Module) -> float:
    return sum(float(p.grad.abs().sum()) for p in part.parameters() if p.grad is not None)


@pytest.mark.parametrize("transformer", TRANSFORMERS)
@pytest.mark.parametrize("registers", REGISTERED)
def test_losses_of_the_map_reach_every_stage_and_through_heat_maps_the_segmentation(
    joint: Joint, transformer: str, registers: str
) -> None:
    network = joint(registers=registers, transformer=transformer)
    for loss, name in ((TransformationLoss(), "fixed_to_moving"), (MultiScaleFlowLoss(), "estimates")):
        network.zero_grad()
        out = network(*images(FLAT))
        loss(out[name], out["fixed_to_moving"].detach() + 1).backward()
        assert all(gradient_of(stage) > 0 for stage in network.registration.stages)
        assert (gradient_of(network.segmentation) > 0) == (registers != "masks")


@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_cycle_loss_reaches_segmentation_and_registration(joint: Joint, alpha: float) -> None:
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
    assert gradient_of(network.registration) > 0


def test_segmentation_loss_does_not_reach_the_registration(joint: Joint) -> None:
    network = joint()
    out = network(*images(FLAT))
    label = torch.zeros_like(out["fixed_logits"])
    PairSegmentationLoss()(out["fixed_logits"], label, out["moving_logits"], label).backward()
    assert gradient_of(network.segmentation) > 0
    assert gradient_of(network.registration) == 0


def test_coordinates_stay_float32_under_autocast(joint: Joint) -> None:
    network = joint(transformer="affine_flownet")
    given: list[Tensor] = []
    for stage in network.registration.stages:
        stage.field.register_forward_pre_hook(lambda module, parameters: given.append(parameters[0]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = network(*images(FLAT))
    assert {value.dtype for value in out.values()} == {torch.float32}
    first, last = (
        stage.field(parameters)
        for stage, parameters in zip(network.registration.stages, (given[0], given[-1]), strict=True)
    )
    expected = (last + warp(first, last))[:3]
    torch.testing.assert_close(out["fixed_to_moving"], expected, rtol=0, atol=1e-5)


def test_image_of_another_size_is_refused(joint: Joint) -> None:
    text = (
        "image has shape (2, 1, 64, 32) but the network takes (B, C, *(32, 64)); expected images resized to image_size"
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        joint()(torch.rand(1, 1, 64, 32), torch.rand(1, 1, 64, 32))


def test_unknown_input_of_the_registration_is_refused() -> None:
    with pytest.raises(ValueError, match="registers is 'mask', expected one of 'masks', 'heat_maps', 'heat_maps_and"):
        JointSegmentationRegistration(FLAT, registers="mask")


def test_size_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"spatial_size is \(100, 64\); expected sizes divisible by 32, such as \(96, 64\)"
    ):
        JointSegmentationRegistration((100, 64))
