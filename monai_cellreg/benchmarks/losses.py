"""How fast losses are, alone and in a training step, against MONAI: time, memory, and the limit that copying sets.
Forward and backward, float32 unless said, one thread of the CPU."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import monai.losses
import torch
from monai.networks import blocks as monai_blocks
from monai.networks.nets import RegUNet
from torch import Tensor, nn
from torch.nn import functional

from ..losses import (
    BendingEnergyLoss,
    DiffusionLoss,
    GlobalMutualInformationLoss,
    LocalNormalizedCrossCorrelationLoss,
)
from ..networks.blocks import Warp
from .geometry import FLOAT_BYTES, OURS, label
from .timing import Candidate, Comparison, gradients, speed_command

WINDOW = 9
FEATURES, DEPTH = 8, 4  # of the registration U-Net: 8 features at full resolution, doubled by each of 4 halvings


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table and writes ``losses.md`` and ``losses.json``."""
    speed_command("losses", __doc__, cases, repeats=9, arguments=arguments)


def cases(*, quick: bool) -> Iterator[Comparison]:
    """All cases, one at a time since each holds its arrays; tiny ones where only running counts."""
    image, large, volume = ((32, 48), (33, 40), (9, 10, 12)) if quick else ((320, 320), (2048, 2048), (96, 112, 96))
    yield from (correlation_case(size, batch) for size, batch in ((image, 8), (large, 1), (volume, 1)))
    for ours, theirs in (
        (BendingEnergyLoss, monai.losses.BendingEnergyLoss),
        (DiffusionLoss, monai.losses.DiffusionLoss),
    ):
        yield from (smoothness_case(ours, theirs, *case) for case in ((image, 8), (large, 1), (volume, 1)))
    yield information_case(image, 8, "gaussian")
    yield information_case(volume, 1, "b-spline")
    yield step_case(image, 8)
    yield low_precision_step_case(image, 8)


def correlation_case(size: tuple[int, ...], batch: int) -> Comparison:
    """Local correlation, differentiated in the warped image."""
    pred, target = image_pair(size, batch)
    losses = (
        monai.losses.LocalNormalizedCrossCorrelationLoss(len(size), WINDOW),
        LocalNormalizedCrossCorrelationLoss(len(size), WINDOW),
    )
    return loss_case(f"LNCC, window {WINDOW}, {label(size, batch)}", losses, pred, target)


def information_case(size: tuple[int, ...], batch: int, kernel_type: str) -> Comparison:
    """Mutual information in 23 bins, differentiated in the warped image."""
    losses = (monai.losses.GlobalMutualInformationLoss(kernel_type), GlobalMutualInformationLoss(kernel_type))
    return loss_case(f"mutual information, {kernel_type}, {label(size, batch)}", losses, *image_pair(size, batch))


def smoothness_case(ours: type[nn.Module], theirs: type[nn.Module], size: tuple[int, ...], batch: int) -> Comparison:
    """A smoothness energy of a voxel field."""
    field = torch.randn(batch, len(size), *size, generator=torch.Generator().manual_seed(0)).requires_grad_()
    candidates = {"MONAI": gradients(theirs(), field), OURS: gradients(ours(), field)}
    name = ours.__name__.removesuffix("Loss").removesuffix("Energy").lower()
    moved = 2 * field.numel()  # field in, gradient out
    return Comparison(f"{name}, {label(size, batch)}", candidates, FLOAT_BYTES * moved)


def loss_case(part: str, losses: tuple[nn.Module, nn.Module], pred: Tensor, target: Tensor) -> Comparison:
    """MONAI's loss and ours."""
    candidates = {name: gradients(loss, pred, target) for name, loss in zip(("MONAI", OURS), losses, strict=True)}
    return Comparison(part, candidates, FLOAT_BYTES * 5 * pred.numel())  # both images in, twice; the gradient out


def step_case(size: tuple[int, ...], batch: int) -> Comparison:
    """A training step of a registration network with local correlation, bending energy and warp."""
    candidates = {"MONAI": training_step(size, batch, monai_parts()), OURS: training_step(size, batch, our_parts())}
    return Comparison(f"training step, {label(size, batch)}", candidates)


def low_precision_step_case(size: tuple[int, ...], batch: int) -> Comparison:
    """The step under bfloat16 autocast.

    MONAI's warp and losses follow autocast, so that coordinates are off by pixels and variances drown in rounding. The
    peer, which computes what ours does, keeps them out of it; the other row is what a user gets who does not.
    """
    candidates = {
        "MONAI, warp and losses in float32": training_step(size, batch, monai_parts(float32=True), low=True),
        "MONAI, all in bfloat16 (inexact)": training_step(size, batch, monai_parts(), low=True),
        OURS: training_step(size, batch, our_parts(), low=True),
    }
    return Comparison(f"training step in bfloat16, {label(size, batch)}", candidates)


@dataclass(frozen=True)
class Parts:
    """What follows the network in a training step.

    Args:
        warp: image and field to the warped image.
        similarity: of the warped and the fixed image.
        smoothness: of the field.
        float32: whether these are kept out of autocast.
    """

    warp: nn.Module
    similarity: nn.Module
    smoothness: nn.Module
    float32: bool = False


def monai_parts(*, float32: bool = False) -> Parts:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the warp's constructor
        warp = monai_blocks.Warp()
    similarity = monai.losses.LocalNormalizedCrossCorrelationLoss(2, WINDOW)
    return Parts(warp, similarity, monai.losses.BendingEnergyLoss(), float32)


def our_parts() -> Parts:
    return Parts(Warp(), LocalNormalizedCrossCorrelationLoss(2, WINDOW), BendingEnergyLoss())


def training_step(size: tuple[int, ...], batch: int, parts: Parts, *, low: bool = False) -> Candidate:
    """A candidate that trains MONAI's U-Net for registration by one step of Adam, and gives the loss before it.

    Args:
        size: of the images, in 2D, divisible by 16.
        batch: number of pairs.
        parts: what follows the network.
        low: use bfloat16 autocast.
    """
    moving, fixed = (image.detach() for image in image_pair(size, batch))
    both = torch.cat([moving, fixed], dim=1).to(memory_format=torch.channels_last)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = RegUNet(2, 2, FEATURES, DEPTH, out_channels=2).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)

    def step() -> Tensor:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            ddf = network(both)
            with torch.autocast("cpu", torch.bfloat16, enabled=low and not parts.float32):
                ddf = ddf.float() if parts.float32 else ddf
                loss = parts.similarity(parts.warp(moving, ddf), fixed) + parts.smoothness(ddf)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def image_pair(size: tuple[int, ...], batch: int) -> tuple[Tensor, Tensor]:
    """Two noisy images (batch, 1, *size) in [0, 1] of the same blobs, the first to be differentiated."""
    mode = "bilinear" if len(size) == 2 else "trilinear"
    coarse = torch.rand(batch, 1, *[max(s // 8, 2) for s in size], generator=torch.Generator().manual_seed(0))
    blobs = functional.interpolate(coarse, size, mode=mode)
    noise = torch.rand(2, *blobs.shape, generator=torch.Generator().manual_seed(1))
    pred, target = 0.7 * blobs + 0.3 * noise
    return pred.requires_grad_(), target


if __name__ == "__main__":
    main()
