"""Four poolings, four skip connections that all matter, and logits of the image's size, in 2D and 3D."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import BasicUNet
from torch import Tensor, nn

from monai_cellreg.networks import SegmentationUNet

SIZES = {2: (32, 48), 3: (16, 32, 16)}
FEATURES = (4, 4, 8, 8, 16, 4)


def unet(spatial_dims: int, in_channels: int = 1) -> SegmentationUNet:
    torch.manual_seed(0)
    return SegmentationUNet(spatial_dims, in_channels, features=FEATURES).eval()


def image(spatial_dims: int, channels: int = 1) -> Tensor:
    return torch.rand(2, channels, *SIZES[spatial_dims], generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_one_logit_a_voxel(spatial_dims: int, channels: int) -> None:
    logits = unet(spatial_dims, channels)(image(spatial_dims, channels))
    assert logits.shape == (2, 1, *SIZES[spatial_dims])
    assert logits.min() < logits.max()


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_four_poolings_each_halve_the_resolution(spatial_dims: int) -> None:
    network, seen = unet(spatial_dims), []
    poolings = [m for m in network.modules() if isinstance(m, nn.MaxPool2d | nn.MaxPool3d)]
    for pooling in poolings:
        pooling.register_forward_hook(lambda module, given, out: seen.append(tuple(out.shape[2:])))
    network(image(spatial_dims))
    assert seen == [tuple(s // 2**level for s in SIZES[spatial_dims]) for level in (1, 2, 3, 4)]


@pytest.mark.parametrize("level", [1, 2, 3, 4])
@pytest.mark.parametrize("silenced", ["skip", "deeper"])
def test_every_decoder_level_joins_a_skip_connection_with_the_deeper_features(level: int, silenced: str) -> None:
    network, x = unet(2), image(2)
    whole = network(x)

    def silence(module: nn.Module, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        deeper, skip = given
        assert skip.shape[2:] == tuple(2 * s for s in deeper.shape[2:])
        return (deeper, skip * 0) if silenced == "skip" else (deeper * 0, skip)

    getattr(network.unet, f"upcat_{level}").register_forward_pre_hook(silence)
    assert (network(x) - whole).abs().max() > 1e-3


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_memory_layout_leaves_the_values_of_the_plain_network(spatial_dims: int) -> None:
    network, x = unet(spatial_dims), image(spatial_dims)
    plain = BasicUNet(spatial_dims, 1, 1, features=FEATURES, act="relu", norm=("instance", {"affine": True}))
    plain.load_state_dict(network.unet.state_dict())
    torch.testing.assert_close(network(x), plain(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_every_image_is_segmented_by_its_own_contrast(training: bool) -> None:
    """Neither the other images of a batch nor those of the training count, nor the unit of the intensities."""
    network, x = unet(2).train(training), image(2)
    together = network(x)
    network(100 * x.flip(3) - 7)
    for k in range(2):
        torch.testing.assert_close(network(x[k : k + 1]), together[k : k + 1], rtol=0, atol=1e-5)
    torch.testing.assert_close(network(30 * x), together, rtol=0, atol=1e-2)


def test_wrong_number_of_widths_is_refused() -> None:
    with pytest.raises(ValueError, match="length 6, got 3"):
        SegmentationUNet(2, features=(4, 8, 4))
