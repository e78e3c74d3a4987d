"""Tensor products against einsum, axis by axis different, so that no two can be exchanged."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from monai_cellreg.geometry.separable import apply_separable

EINSUM = {1: "bck,ik->bci", 2: "bckl,ik,jl->bcij", 3: "bcklm,ik,jl,hm->bcijh"}


def drawn(control: tuple[int, ...], sizes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Values (2, 3, *control) and a matrix an axis."""
    torch_generator = torch.Generator().manual_seed(0)
    shapes = [(2, 3, *control), *zip(sizes, control, strict=True)]
    return [torch.randn(*shape, generator=torch_generator, dtype=torch.float64).to(dtype) for shape in shapes]


@pytest.mark.parametrize(
    ("control", "sizes"),
    [((4,), (7,)), ((3, 4), (8, 5)), ((9, 4), (2, 11)), ((3, 4, 5), (8, 7, 6)), ((5, 4, 3), (2, 9, 1))],
)
def test_agrees_with_einsum(control: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    values, *matrices = drawn(control, sizes)
    result = apply_separable(values, matrices)
    assert result.is_contiguous()
    expected = torch.einsum(EINSUM[len(sizes)], values, *matrices)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("control", "sizes"), [((3, 4), (2, 5)), ((3, 2, 2), (2, 3, 4))])
def test_gradients(control: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    drawn_tensors = [x.requires_grad_() for x in drawn(control, sizes)]
    assert torch.autograd.gradcheck(lambda v, *m: apply_separable(v, m), drawn_tensors, fast_mode=True)


def test_autocast_does_not_round_and_the_better_precision_wins() -> None:
    values, *matrices = drawn((3, 4), (8, 5), torch.float32)
    expected = apply_separable(values, matrices)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded_not = apply_separable(values, matrices)
    assert rounded_not.dtype == torch.float32
    torch.testing.assert_close(rounded_not, expected, rtol=0, atol=0)
    assert apply_separable(values.bfloat16(), matrices).dtype == torch.float32
    assert apply_separable(values.double(), matrices).dtype == torch.float64
    assert apply_separable(values, [m.double() for m in matrices]).dtype == torch.float64


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_order_costs_least(axes: tuple[int, ...]) -> None:
    control, sizes = [(4, 5, 30)[a] for a in axes], [(5, 40, 3)[a] for a in axes]
    values, *matrices = drawn(tuple(control), tuple(sizes))
    with FlopCounterMode(display=False) as counter:
        apply_separable(values, matrices)
    least = 3 * 30 * 4 * 5 + 5 * 4 * 5 * 3 + 40 * 5 * 5 * 3  # products: 30 to 3, then 4 to 5, then 5 to 40
    assert counter.get_total_flops() == 2 * 6 * least


@pytest.mark.parametrize("shapes", [[(5, 3)], [(5, 4), (5, 3)], [(5, 3), (5, 4), (5, 1)], [(5, 3), (4,)]])
def test_matrices_that_do_not_fit_are_refused(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=r"^matrices have shapes 5x.* but values has shape 1x2x3x4; expected one \(si"):
        apply_separable(torch.zeros(1, 2, 3, 4), [torch.zeros(s) for s in shapes])
