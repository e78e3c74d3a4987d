"""FlowNet's resolutions, what each of its paths sees, its start at zero and the sizes that it refuses."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from monai_cellreg.networks import FlowNet

SIZES = {2: (32, 64), 3: (32, 64, 32)}
NARROW = (4, 4, 8, 8, 8)


def flownet(dims: int = 2, **options: Any) -> FlowNet:
    """A network that displaces, with settled batch statistics."""
    torch.manual_seed(0)
    network = FlowNet(SIZES[dims], **{"channels": NARROW, "radius": 1, **options})
    for flow in network.flows:
        nn.init.normal_(flow.conv.weight, std=0.05)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.momentum = 1.0
    network(pair(dims, channels=options.get("in_channels", 1)))
    return network.eval()


def pair(dims: int = 2, *, channels: int = 1, batch: int = 3) -> Tensor:
    return torch.rand(batch, 2 * channels, *SIZES[dims], generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("channels", [1, 2])
def test_three_flows_of_the_size_of_the_images(spatial_dims: int, channels: int) -> None:
    flows = flownet(spatial_dims, in_channels=channels)(pair(spatial_dims, channels=channels))
    assert [flow.shape for flow in flows] == [(3, spatial_dims, *SIZES[spatial_dims])] * 3
    assert all(flow.abs().max() > 0.01 for flow in flows)


def test_predicted_at_three_resolutions_from_coarse_to_fine(spatial_dims: int) -> None:
    network, seen = flownet(spatial_dims), []
    for layer in network.flows:
        layer.register_forward_hook(lambda module, given, out: seen.append(out))
    flows = network(pair(spatial_dims))
    for factor, small, flow in zip((16, 8, 4), seen, flows, strict=True):
        size = tuple(s // factor for s in SIZES[spatial_dims])
        assert small.shape[2:] == size
        means = flow.unfold(2, factor, factor).mean(-1)  # in blocks: linear resizing keeps means inside
        for axis in range(3, 2 + spatial_dims):
            means = means.unfold(axis, factor, factor).mean(-1)
        assert means.shape == small.shape
        assert np.corrcoef(means.detach().flatten(), small.detach().flatten())[0, 1] > 0.9


def test_displacements_keep_their_unit_at_every_resolution() -> None:
    network = flownet()
    for layer in network.flows:
        nn.init.zeros_(layer.conv.weight)
        layer.conv.bias.data = torch.tensor([0.3, -0.2])
    for flow in network(pair()):
        expected = torch.tensor([0.3, -0.2]).reshape(1, 2, 1, 1).expand_as(flow)
        torch.testing.assert_close(flow, expected)


def test_starts_at_zero_and_can_leave_it(spatial_dims: int) -> None:
    network = FlowNet(SIZES[spatial_dims], channels=NARROW, radius=1)
    flows = network(pair(spatial_dims))
    assert all(flow.eq(0).all() for flow in flows)
    sum((flow - 1).square().sum() for flow in flows).backward()
    assert all(layer.conv.weight.grad.abs().max() > 0 for layer in network.flows)


def test_order_of_the_two_images_matters(spatial_dims: int) -> None:
    network, images = flownet(spatial_dims), pair(spatial_dims)
    assert (network(images)[-1] - network(images.flip(1))[-1]).abs().max() > 1e-2


def test_every_pair_is_compared_with_itself_alone() -> None:
    network, images = flownet(in_channels=2), pair(channels=2)
    together = network(images)
    for k in range(len(images)):
        for flow, alone in zip(together, network(images[k : k + 1]), strict=True):
            torch.testing.assert_close(flow[k : k + 1], alone, rtol=0, atol=1e-5)


def test_both_images_pass_the_same_layers_before_they_are_correlated() -> None:
    network, images = flownet(), pair()
    seen: list[tuple[Tensor, Tensor]] = []
    network.correlation.register_forward_pre_hook(lambda module, given: seen.append(given))
    network(images)
    network(images.flip(1))
    (fixed, moving), (other_fixed, other_moving) = seen
    expected = images[:, :1]
    for layer in network.siamese:
        expected = layer(expected)
    torch.testing.assert_close(fixed, expected, rtol=0, atol=1e-5)
    assert fixed.shape[2:] == tuple(s // 8 for s in SIZES[2])
    torch.testing.assert_close(fixed, other_moving, rtol=0, atol=1e-5)
    torch.testing.assert_close(moving, other_fixed, rtol=0, atol=1e-5)
    assert (fixed - moving).abs().max() > 0.1


def test_moving_image_is_seen_through_the_correlation_alone(spatial_dims: int) -> None:
    network, images = flownet(spatial_dims), pair(spatial_dims)
    network.correlation.register_forward_hook(lambda module, given, cost: 0 * cost)
    other_moving, other_fixed = images.clone(), images.clone()
    other_moving[:, 1], other_fixed[:, 0] = images[:, 0], images[:, 1]
    assert torch.equal(network(images)[-1], network(other_moving)[-1])
    assert (network(images)[-1] - network(other_fixed)[-1]).abs().max() > 1e-2


def test_result_depends_on_every_weight(spatial_dims: int) -> None:
    network = flownet(spatial_dims)
    network(pair(spatial_dims))[-1].square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


def test_flow_stays_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert {flow.dtype for flow in flownet()(pair())} == {torch.float32}


def test_learns_how_textures_are_displaced() -> None:
    """Every pair is new and has a shift of its own: it cannot be learnt by heart, nor from one of the images."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = FlowNet((32, 64), channels=(8, 8, 16, 16, 16), radius=1)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    errors = []
    for _ in range(80):
        noise = gaussian_filter(rng.normal(size=(8, 48, 80)), (0, 3, 3), mode="wrap")
        noise /= noise.std()
        shift = rng.integers(-6, 7, size=(8, 2))
        moving = np.stack([np.roll(n, s, axis=(0, 1)) for n, s in zip(noise, shift, strict=True)])
        images = torch.from_numpy(np.stack([noise, moving], axis=1)[..., 8:40, 8:72]).float()
        truth = torch.from_numpy(shift / np.array([31, 63]) * 2).float()[..., None, None]  # voxels to the cube
        error = (network(images)[-1] - truth).abs().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append((error / truth.abs().mean()).item())
    assert errors[0] == pytest.approx(1)  # of zero flow
    assert np.mean(errors[-10:]) < 0.8


@pytest.mark.parametrize(
    ("size", "near"), [((32, 70), (32, 64)), ((31, 64), (32, 64)), ((8, 32), (32, 32)), ((64, 64, 100), (64, 64, 96))]
)
def test_size_that_is_not_divisible_is_refused_with_a_near_one(size: tuple[int, ...], near: tuple[int, ...]) -> None:
    text = f"image_size is {size}; expected sizes divisible by 32, such as {near}"
    with pytest.raises(ValueError, match=re.escape(text)):
        FlowNet(size)


def test_other_than_five_widths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"channels is \(4, 8\); expected five widths"):
        FlowNet((32, 64), channels=(4, 8))
