"""The compiled warp of volumes gives what PyTorch gives, on any coordinates, and steps aside where it cannot serve."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from monai_cellreg.geometry import sampling, warp

pytest.importorskip("numba")
from monai_cellreg.geometry import kernels  # noqa: E402

PADDINGS = ["border", "zeros"]
SHAPES = [(5, 6, 9), (5, 1, 4), (1, 1, 6)]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The images that the kernels have read, now of any size."""
    seen: list[Tensor] = []
    inner = kernels.warp_volumes

    def listening(image: Tensor, *rest: Any, border: bool) -> Tensor:
        seen.append(image)
        return inner(image, *rest, border=border)

    monkeypatch.setattr(sampling, "WORTH_COMPILING", 0)
    monkeypatch.setattr(kernels, "warp_volumes", listening)
    return seen


def by_pytorch(monkeypatch: pytest.MonkeyPatch, function: Callable[[], Any]) -> Any:
    with monkeypatch.context() as patch:
        patch.setattr(sampling, "WORTH_COMPILING", math.inf)
        return function()


def results(image: Tensor, field: Tensor, padding: str) -> tuple[Tensor, ...]:
    """Warped image and both gradients, of another cotangent for every value."""
    leaves = image.clone().requires_grad_(), field.clone().requires_grad_()
    warped = warp(*leaves, padding=padding)
    return (warped, *torch.autograd.grad(warped, leaves, drawn(*warped.shape, seed=9)))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_same_as_pytorch(
    shape: tuple[int, ...], padding: str, threads: int, calls: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    image = drawn(2, 3, *shape)
    for out in (shape, (4, 7, 3)):
        field = 8 * drawn(2, 3, *out, seed=1) - 4
        field[:, :, 0, 0, 0] = torch.tensor([-0.4, 0.3, -0.7])  # into the voxel of zeros before the first
        compiled = results(image, field, padding)
        expected = by_pytorch(monkeypatch, lambda field=field: results(image, field, padding))
        for ours, theirs in zip(compiled, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=5e-6)
    assert len(calls) == 2


@pytest.mark.parametrize("padding", PADDINGS)
def test_gradients_of_one_input(padding: str, calls: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    image, field = drawn(2, 1, 5, 6, 9), 3 * drawn(2, 3, 5, 6, 9, seed=1)
    for wanted, other in ((0, 1), (1, 0)):

        def gradient(wanted: int = wanted, other: int = other) -> Tensor:
            pair = [image.clone(), field.clone()]
            pair[wanted].requires_grad_()
            (found,) = torch.autograd.grad(warp(*pair, padding=padding).square().sum(), pair[wanted])
            assert pair[other].grad is None
            return found

        torch.testing.assert_close(gradient(), by_pytorch(monkeypatch, gradient), rtol=0, atol=1e-5)
    assert len(calls) == 2


def test_threads_share_no_voxel_that_they_add_to(calls: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[int] = []
    inner = kernels._in_parts

    def listening(run: Callable[[int, int], None], count: int) -> None:
        parts.append(count)
        inner(run, count)

    monkeypatch.setattr(kernels, "_in_parts", listening)
    field = (3 * drawn(2, 3, 5, 6, 9, seed=1)).requires_grad_()
    for image, backward in ((drawn(2, 1, 5, 6, 9), 2 * 5), (drawn(2, 1, 5, 6, 9).requires_grad_(), 2)):
        parts.clear()
        warp(image, field).sum().backward()
        assert parts == [2 * 5, backward]  # planes, or whole volumes
    assert len(calls) == 2


def test_whole_coordinates_are_exact_and_slope_forward(calls: list[Tensor]) -> None:
    depth = 40
    image = torch.arange(float(depth)).square().reshape(1, 1, depth, 1, 1)
    field = torch.zeros(1, 3, depth, 1, 1, requires_grad=True)
    warped = warp(image, field)
    (slope,) = torch.autograd.grad(warped.sum(), field)
    assert torch.equal(warped, image)
    expected = 2 * torch.arange(float(depth)) + 1  # (z + 1)^2 - z^2
    expected[[0, -1]] = 0  # where the border continues
    assert torch.equal(slope[0, 0].flatten(), expected)
    assert slope[0, 1:].abs().max() == 0
    assert len(calls) == 1


@pytest.mark.parametrize("padding", PADDINGS)
def test_coordinates_far_away_read_nothing_outside(padding: str, calls: list[Tensor]) -> None:
    image = drawn(1, 1, 3, 4, 5)
    for value in (math.inf, -math.inf, 1e30, -1e30, 2.0**31, 3.0 - 1e-7):
        warped, of_image, of_field = results(image, torch.full((1, 3, 3, 4, 5), value), padding)
        for found in (warped, of_image, of_field):
            assert found.isfinite().all() and found.abs().max() <= 60
    assert len(calls) == 4  # those that are finite


def test_strided_inputs_are_read_as_they_are(calls: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    image, field = drawn(9, 6, 5, 3, 2).permute(4, 3, 2, 1, 0), 4 * drawn(2, 5, 6, 9, 3, seed=1).movedim(-1, 1)
    compiled = results(image, field, "border")
    for ours, theirs in zip(compiled, by_pytorch(monkeypatch, lambda: results(image, field, "border")), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=5e-6)
    (ones,) = torch.autograd.grad(warp(image, field.requires_grad_()).sum(), field)  # a cotangent of stride zero
    assert ones.shape == field.shape and len(calls) == 2


def test_steps_aside_where_it_cannot_serve(calls: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    image, field = drawn(2, 1, 5, 6, 9), 3 * drawn(2, 3, 5, 6, 9, seed=1)
    warp(image.double(), field)
    warp(image, field.double())
    warp(image.bfloat16(), field)
    warp(image[:1], field)
    warp(image, field, mode="nearest")
    warp(image, field, padding="reflection")
    warp(image[:, :, 0], field[:, :2, 0])
    warp(image.as_subclass(type("Labelled", (Tensor,), {})), field)
    with pytest.raises(RuntimeError, match="non-empty|elements"):
        warp(image[:, :, :0], field)
    assert calls == []
    monkeypatch.setattr(sampling, "WORTH_COMPILING", field[:, 0].numel() + 1)
    warp(image, field)
    assert calls == []
    monkeypatch.setattr(sampling, "WORTH_COMPILING", field[:, 0].numel())
    warp(image, field)
    assert len(calls) == 1


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_recorded_programs_do_without(calls: list[Tensor]) -> None:
    image, field = drawn(2, 1, 5, 6, 9), 3 * drawn(2, 3, 5, 6, 9, seed=1)
    traced = torch.jit.trace(warp, (image, torch.zeros_like(field)), check_trace=False)
    mapped = torch.func.vmap(lambda i, f: warp(i[None], f[None])[0])(image, field)
    slope = torch.func.grad(lambda f: warp(image, f).sum())(field)
    assert calls == []
    expected = warp(image, field)
    assert len(calls) == 1
    torch.testing.assert_close(traced(image, field), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(mapped, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(slope, results_of_ones(image, field), rtol=0, atol=1e-5)


def results_of_ones(image: Tensor, field: Tensor) -> Tensor:
    leaf = field.clone().requires_grad_()
    return torch.autograd.grad(warp(image, leaf).sum(), leaf)[0]


def test_without_numba_pytorch_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    image, field = drawn(1, 1, 5, 6, 9), 3 * drawn(1, 3, 5, 6, 9, seed=1)
    monkeypatch.setattr(sampling, "WORTH_COMPILING", 0)
    expected = warp(image, field)
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "monai_cellreg.geometry.kernels")
    monkeypatch.delattr("monai_cellreg.geometry.kernels")
    sampling._compiled_kernels.cache_clear()
    try:
        assert sampling._compiled_kernels() is None
        torch.testing.assert_close(warp(image, field), expected, rtol=0, atol=1e-5)
    finally:
        sampling._compiled_kernels.cache_clear()


def test_no_folder_for_the_cache_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = kernels.numba.njit

    def refusing(function: Callable[..., Any], *, cache: bool, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return inner(function, cache=cache, **options)

    monkeypatch.setattr(kernels.numba, "njit", refusing)
    assert kernels._compiled(lambda x: x + 1)(1) == 2
