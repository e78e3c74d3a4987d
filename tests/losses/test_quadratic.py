"""Totals and closed-form gradients against automatic differentiation of the map."""

from __future__ import annotations

import pytest
import torch

from monai_cellreg.losses import quadratic
from monai_cellreg.losses.quadratic import Square, combined, difference, energy_map, total_energy


def squares(dims: int) -> list[Square]:
    """One of several components, one that mixes components, and one of the second component alone."""
    first, second = [1] + [0] * (dims - 1), [0] * (dims - 1) + [2]
    mixed = combined([difference(0, [1] * 2 + [0] * (dims - 2), 3.0), difference(dims - 1, first, -0.5)])
    return [
        Square(difference(0, second, 2.0), 1.5, channels=dims),
        Square(mixed, 0.25),
        Square(difference(1, first), 1, 1),
    ]


def test_differences_are_exact_on_quadratics() -> None:
    row, column = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), indexing="ij")
    field = torch.stack([row**2 + 3 * row * column, 2 * column**2 - row])[None]
    for component, orders, expected in (
        (0, (1, 0), 2 * row + 3 * column),
        (0, (2, 0), 2 + 0 * row),
        (0, (1, 1), 3 + 0 * row),
        (0, (0, 0), field[0, 0]),
        (1, (0, 1), 4 * column),
        (1, (1, 0), -1 + 0 * row),
        (1, (0, 2), 4 + 0 * row),
    ):
        found = energy_map(field, [Square(difference(component, orders, 0.5))])
        torch.testing.assert_close(found[0, 0], (0.5 * expected[1:-1, 1:-1]) ** 2)


@pytest.mark.parametrize("block", [1, 30, 100, 1 << 17])
@pytest.mark.parametrize("weighted", [False, True])
def test_total_is_the_sum_of_the_map_whatever_the_blocks(
    spatial_dims: int, block: int, weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quadratic, "BLOCK", block)
    generator = torch.Generator().manual_seed(0)
    shape = (6, 7, 5)[:spatial_dims]
    field = torch.randn(5, spatial_dims, *shape, dtype=torch.float64, generator=generator, requires_grad=True)
    weight = torch.rand(5, 1, *(n - 2 for n in shape), dtype=torch.float64, generator=generator) if weighted else None
    energy = energy_map(field, squares(spatial_dims), weight)
    assert energy.shape == (5, spatial_dims, *(n - 2 for n in shape))
    total = total_energy(field, squares(spatial_dims), weight)
    torch.testing.assert_close(total, energy.sum())
    with torch.no_grad():
        torch.testing.assert_close(total_energy(field, squares(spatial_dims), weight), energy.sum())
    expected = torch.autograd.grad(energy.sum() * 3, field)[0]
    torch.testing.assert_close(torch.autograd.grad(total * 3, field)[0], expected)


def test_channels_hold_their_own_terms() -> None:
    field = torch.randn(1, 2, 4, 5, generator=torch.Generator().manual_seed(0))
    first, mixed, second = squares(2)
    whole = energy_map(field, [first, mixed, second])
    alone = energy_map(field, [first])
    torch.testing.assert_close(whole[:, :1], alone[:, :1] + energy_map(field, [mixed]))
    torch.testing.assert_close(whole[:, 1:], alone[:, 1:] + energy_map(field, [Square(second.stencil)]))
    torch.testing.assert_close(alone[:, 1:], energy_map(field.flip(1), [first])[:, :1])
