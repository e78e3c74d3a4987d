"""The layers give what MONAI's give, with every option, and do without their faults."""

from __future__ import annotations

import warnings

import pytest
import torch
from monai.networks import blocks as monai_blocks
from monai.utils import GridSampleMode, GridSamplePadMode
from torch import Tensor, nn

from monai_cellreg.networks.blocks import DVF2DDF, Warp

SHAPES = [(9, 14), (5, 6, 9)]
PADDINGS = ["border", "zeros", "reflection"]
MODES = ["bilinear", "nearest", "bicubic"]

pytestmark = pytest.mark.filterwarnings("ignore:monai.networks.blocks.Warp")


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def results(layer: nn.Module, *inputs: Tensor) -> tuple[Tensor, ...]:
    """The output, and the gradients of the inputs for a random cotangent."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    output = layer(*leaves)
    return (output, *torch.autograd.grad(output, leaves, drawn(*output.shape, seed=9)))


@pytest.mark.parametrize("jitter", [False, True])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_warp_is_that_of_monai(shape: tuple[int, ...], mode: str, padding: str, jitter: bool) -> None:
    image, ddf = drawn(2, 3, *shape), 12 * drawn(2, len(shape), *shape, seed=1) - 6
    if mode == "bicubic" and len(shape) == 3:
        with pytest.raises(ValueError, match="^mode is 'bicubic' but the image has 3 axes"):
            Warp(mode, padding, jitter)(image, ddf)
        return
    expected = results(monai_blocks.Warp(mode, padding, jitter), image, ddf)
    for ours, theirs in zip(results(Warp(mode, padding, jitter), image, ddf), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    still = torch.zeros_like(ddf)  # slopes jump at whole coordinates; rounding as MONAI does picks the same side
    expected = results(monai_blocks.Warp(mode, padding, jitter), image, still)
    for ours, theirs in zip(results(Warp(mode, padding, jitter), image, still), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_velocities_become_the_displacements_of_monai(shape: tuple[int, ...], mode: str, padding: str) -> None:
    dvf = 4 * drawn(2, len(shape), *shape) - 2
    for options in ({}, {"num_steps": 3, "mode": mode, "padding_mode": padding}):
        expected = results(monai_blocks.DVF2DDF(**options), dvf)
        for ours, theirs in zip(results(DVF2DDF(**options), dvf), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("options", "same"),
    [
        ((GridSampleMode.NEAREST, GridSamplePadMode.REFLECTION), ("nearest", "reflection")),
        ((0, 7), ("nearest", "zeros")),
        ((1, 1), ("bilinear", "reflection")),
        ((3, 0), ("bicubic", "border")),
    ],
)
def test_enums_and_numbers_of_monai(options: tuple[object, object], same: tuple[str, str]) -> None:
    image, ddf = drawn(1, 1, 9, 14), 12 * drawn(1, 2, 9, 14, seed=1) - 6
    torch.testing.assert_close(Warp(*options)(image, ddf), Warp(*same)(image, ddf), rtol=0, atol=0)
    names = {"mode": options[0], "padding_mode": options[1]}
    torch.testing.assert_close(DVF2DDF(**names)(ddf), DVF2DDF(7, *same)(ddf), rtol=0, atol=0)


def test_defaults_are_those_of_monai() -> None:
    assert repr(Warp()) == "Warp(mode='linear', padding='border', jitter=False)"
    assert repr(DVF2DDF()) == "DVF2DDF(num_steps=7, mode='linear', padding='zeros')"


def test_constructors_do_not_warn() -> None:
    with warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter("always")
        Warp()
        DVF2DDF()
    assert recorded == []


@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_does_not_round_coordinates(autocast: bool) -> None:
    width = 2050  # bfloat16 holds no odd column beyond 256
    image = torch.arange(float(width)).expand(1, 1, 2, width) / width
    ddf = torch.full((1, 2, 2, width), 0.25, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        warped, half = Warp()(image, ddf), Warp()(image.bfloat16(), ddf)
        flow = DVF2DDF()(ddf.clone())
    expected = (torch.arange(float(width)) + 0.25).clamp_max(width - 1) / width
    assert (warped[0, 0] - expected).abs().max() < 1e-5
    assert half.dtype == torch.bfloat16 and (half[0, 0] - expected).abs().max() < 2e-2
    assert flow.dtype == torch.float32
    torch.testing.assert_close(flow, DVF2DDF()(ddf.float()), rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(1, 9), (5, 1, 4), (1, 1, 1)], ids=str)
def test_an_axis_of_one_voxel_ends_there(shape: tuple[int, ...]) -> None:
    image, ddf = drawn(1, 2, *shape), torch.zeros(1, len(shape), *shape)
    thin = shape.index(1)
    ddf[:, thin] = 0.25
    for padding in ("border", "reflection"):
        torch.testing.assert_close(Warp(padding_mode=padding)(image, ddf), image, rtol=0, atol=1e-6)
    torch.testing.assert_close(Warp(padding_mode="zeros")(image, ddf), 0.75 * image, rtol=0, atol=1e-6)


def test_one_image_or_one_field_serves_a_batch() -> None:
    image, ddf = drawn(3, 2, 9, 14), 6 * drawn(3, 2, 9, 14, seed=1) - 3
    warped = Warp()(image[:1], ddf)
    torch.testing.assert_close(warped, Warp()(image[:1].repeat(3, 1, 1, 1), ddf), rtol=0, atol=0)
    warped = Warp()(image, ddf[:1])
    torch.testing.assert_close(warped, Warp()(image, ddf[:1].repeat(3, 1, 1, 1)), rtol=0, atol=0)


def test_jitter_leaves_the_random_state_alone_and_is_the_same_in_every_call() -> None:
    image, ddf, layer = drawn(2, 1, 9, 14), torch.zeros(2, 2, 9, 14), Warp(jitter=True)
    before = torch.get_rng_state()
    first = layer(image, ddf)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(layer(image, ddf), first)
    assert (first - image).abs().max() > 0.1
    assert (first[0] - Warp(jitter=True)(image[1:], ddf[1:])[0]).abs().max() > 0.1  # not one pattern for all


def test_inputs_are_not_modified() -> None:
    image, ddf = drawn(2, 1, 9, 14), drawn(2, 2, 9, 14, seed=1)
    before = image.clone(), ddf.clone()
    Warp(jitter=True)(image, ddf)
    DVF2DDF()(ddf)
    torch.testing.assert_close((image, ddf), before, rtol=0, atol=0)


def test_what_is_unknown_or_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="^mode is 'linear', expected one of 'bilinear', .* did you mean 'bilinear'"):
        Warp(mode="linear")
    with pytest.raises(
        ValueError, match="^padding_mode is 5, expected one of 'border', 'zeros', 'reflection', 0, 1, 7"
    ):
        DVF2DDF(padding_mode=5)
    with pytest.raises(ValueError, match="^num_steps is 0; expected 1 or more"):
        DVF2DDF(num_steps=0)
    with pytest.raises(ValueError, match="^ddf has shape 9x13 but image has shape 9x14, expected the same"):
        Warp()(drawn(1, 1, 9, 14), drawn(1, 2, 9, 13))
    with pytest.raises(ValueError, match="^displacement_vox has shape 1x3x9x14 but the image has 2 axes"):
        Warp()(drawn(1, 1, 9, 14), drawn(1, 3, 9, 14))
    with pytest.raises(ValueError, match="^image holds 3 images but index holds 2"):
        Warp()(drawn(3, 1, 9, 14), drawn(2, 2, 9, 14))


class Layers(nn.Module):
    """All that is recorded, in one program."""

    def __init__(self) -> None:
        super().__init__()
        self.border, self.zeros, self.squaring = Warp(), Warp(padding_mode="zeros"), DVF2DDF(2)

    def forward(self, image: Tensor, ddf: Tensor) -> tuple[Tensor, ...]:
        return self.border(image, ddf), self.zeros(image, ddf), self.squaring(ddf)


def inputs(shape: tuple[int, ...], batch: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    return drawn(batch, 2, *shape, seed=seed), 6 * drawn(batch, len(shape), *shape, seed=seed + 1) - 3


ANY_BATCH = ({0: torch.export.Dim("batch")},) * 2


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_traced(shape: tuple[int, ...]) -> None:
    traced, other = torch.jit.trace(Layers(), inputs(shape, 2)), inputs(shape, 2, seed=5)
    torch.testing.assert_close(traced(*other), Layers()(*other), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("shape", "strict"), [(SHAPES[0], False), (SHAPES[1], True)], ids=str)
def test_exported_for_any_batch(shape: tuple[int, ...], strict: bool) -> None:
    program = torch.export.export(Layers(), inputs(shape, 2), dynamic_shapes=ANY_BATCH, strict=strict)
    other = inputs(shape, 5, seed=5)
    torch.testing.assert_close(program.module()(*other), Layers()(*other), rtol=0, atol=1e-6)


def test_onnx_runtime_gives_the_same() -> None:
    shape = SHAPES[1]  # volumes ask more of the exporter than images
    for module in ("onnx", "onnxscript"):
        pytest.importorskip(module)
    runtime = pytest.importorskip("onnxruntime")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(Warp(), inputs(shape, 2), dynamo=True, dynamic_shapes=ANY_BATCH, verbose=False)
    session = runtime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    other = inputs(shape, 5, seed=5)
    (warped,) = session.run(None, {name: x.numpy() for name, x in zip(names, other, strict=True)})
    torch.testing.assert_close(torch.from_numpy(warped), Warp()(*other), rtol=0, atol=1e-5)
