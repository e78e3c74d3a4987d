"""Regressors of DIRNet: what each displacement depends on, and how many there are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from monai_cellreg.networks.nets.patch_regressor import AffineRegressor, PatchRegressor, WholeImageRegressor


def moved(network: nn.Module, seed: int = 0) -> nn.Module:
    """A network whose last layer is not zero, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for values in network.parameters():
        values.data = 0.3 * torch.randn(values.shape, generator=generator)
    return network.eval()


def images(*size: int, seed: int = 0) -> Tensor:
    return torch.rand(1, 2, *size, generator=torch.Generator().manual_seed(seed))


def reached(network: nn.Module, size: tuple[int, ...], patch: tuple[int, ...]) -> Tensor:
    """Where a change of the images changes the displacement of one patch: (*size), bool."""
    pair = images(*size).requires_grad_()
    answer = network(pair)[(0, slice(None), *patch)].sum()
    return torch.autograd.grad(answer, pair)[0].abs().sum((0, 1)) > 0


@pytest.mark.parametrize("size", [(32, 48), (16, 24, 8)])
def test_one_displacement_a_patch_and_none_at_the_start(size: tuple[int, ...]) -> None:
    answer = PatchRegressor(len(size), levels=3)(images(*size).repeat(3, *[1] * (1 + len(size))))
    assert answer.shape == (3, len(size), *(n // 8 for n in size))
    assert answer.abs().max() == 0


def test_baseline_sees_a_patch_with_its_margin_and_overlapping_patches_more() -> None:
    """By counting: convolutions of 3 before halvings 1 to 3 reach 1 + 2 + 4 voxels beyond a patch of 8."""
    seen = reached(moved(PatchRegressor(2, levels=3)), (64, 72), (4, 3))
    rows, columns = (seen.any(axis).nonzero().flatten() for axis in (1, 0))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (32 - 7, 39 + 7, 24 - 7, 31 + 7)
    wider = reached(moved(PatchRegressor(2, levels=3, overlapping=True)), (64, 72), (4, 3))
    rows = wider.any(1).nonzero().flatten()
    assert (rows.min(), rows.max()) == (32 - 7 - 4 - 8, 39 + 7 + 4 + 8)  # one more at 1/4 and one at 1/8


def test_coarsened_images_are_averages_and_count_as_halvings() -> None:
    network = moved(PatchRegressor(2, levels=3, coarsened=2))
    pair = images(32, 48)
    averages = torch.nn.functional.avg_pool2d(pair, 4)
    finer = PatchRegressor(2, levels=1)
    finer.load_state_dict(network.state_dict())
    inner = finer.eval()(averages) * (torch.tensor([7.0, 11.0]) / 2).reshape(2, 1, 1)  # voxels of the averages
    own = network(pair) * (torch.tensor([31.0, 47.0]) / 2).reshape(2, 1, 1)
    assert torch.allclose(own, 4 * inner, atol=1e-5) and own.std() > 1e-3
    with pytest.raises(ValueError, match="levels is 0"):
        PatchRegressor(2, levels=2, coarsened=2)


def test_whole_image_regressor_sees_everything() -> None:
    seen = reached(moved(WholeImageRegressor((32, 48), levels=3, hidden=32)), (32, 48), (0, 0))
    assert seen.all()


@pytest.mark.parametrize("pooling", ["average", "max", "stride"])
def test_answer_moves_with_the_images_by_whole_patches(pooling: str) -> None:
    network = moved(PatchRegressor(2, levels=2, pooling=pooling))
    pair = images(40, 48)
    answer, later = network(pair), network(pair.roll((4, -8), dims=(2, 3)))
    inner = (slice(None), slice(None), slice(3, -3), slice(4, -4))
    assert torch.allclose(answer.roll((1, -2), dims=(2, 3))[inner], later[inner], atol=1e-5)
    assert answer.std() > 1e-3


def test_displacements_do_not_depend_on_the_size_of_the_image() -> None:
    """In voxels; on the cube they do."""
    network = moved(PatchRegressor(2, levels=2))
    pair = images(40, 48)
    large, small = network(pair) * 0.5, network(pair[..., :24, :32]) * 0.5
    large, small = (a * torch.tensor([h - 1, w - 1]).reshape(2, 1, 1) for a, h, w in ((large, 40, 48), (small, 24, 32)))
    assert torch.allclose(large[..., :5, :7], small[..., :5, :7], atol=1e-5)


def test_poolings_are_those_that_their_names_say() -> None:
    layers = {p: [type(m).__name__ for m in PatchRegressor(2, pooling=p).modules()] for p in ("average", "max")}
    assert layers["average"].count("AvgPool2d") == 4 and layers["max"].count("MaxPool2d") == 4
    strides = [m.stride for m in PatchRegressor(2, pooling="stride").modules() if isinstance(m, nn.Conv2d)]
    assert strides.count((2, 2)) == 4


def test_layers_of_the_paper() -> None:
    """Four convolutions of 3, three of 1, batch normalisation and ELU after all but the last, 16 kernels."""
    modules = list(PatchRegressor(2).modules())
    convolutions = [m for m in modules if isinstance(m, nn.Conv2d)]
    assert [m.kernel_size[0] for m in convolutions] == [3, 3, 3, 3, 1, 1, 1]
    assert [m.out_channels for m in convolutions] == [16] * 6 + [2]
    assert sum(isinstance(m, nn.BatchNorm2d) for m in modules) == sum(isinstance(m, nn.ELU) for m in modules) == 6
    widths = [
        m.out_channels for m in PatchRegressor(2, levels=2, channels=(8, 24)).modules() if isinstance(m, nn.Conv2d)
    ]
    assert widths == [8, 24, 24, 24, 2]


@pytest.mark.parametrize("size", [(32, 48), (16, 24, 32)])
def test_affine_regressor_starts_at_the_identity_and_takes_any_size(size: tuple[int, ...]) -> None:
    dims = len(size)
    network = AffineRegressor(dims, levels=3)
    assert network(images(*size).repeat(2, *[1] * (1 + dims))).abs().max() == 0
    assert moved(network)(images(*(2 * n for n in size))).shape == (1, dims, dims + 1)


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match="pooling is 'mean'"):
        PatchRegressor(2, pooling="mean")
    with pytest.raises(ValueError, match=r"channels is \[8, 16\].*or 3"):
        PatchRegressor(2, levels=3, channels=(8, 16))
    with pytest.raises(ValueError, match=r"\(30, 32\).*divisible by 8, such as \(32, 32\)"):
        PatchRegressor(2, levels=3)(images(30, 32))
    with pytest.raises(ValueError, match=r"expected \(B, C, \*\(32, 48\)\)"):
        WholeImageRegressor((32, 48), levels=3)(images(48, 48))
