"""Whether a packed bundle keeps what MONAI's tools ask of bundles."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser, ckpt_export, load, onnx_export, verify_metadata, verify_net_in_out
from torch import Tensor, nn
from torch.nn import functional

from ..engines import load_weights, root_cause
from .json_files import write_json
from .packing import INFERENCE, METADATA, WEIGHTS

TOLERANCE_VOX = 1e-4  # between the network and what was exported of it


@dataclass(frozen=True)
class PackCheck:
    """A check of a pack and how it ended.

    Args:
        name: of MONAI's function.
        passed: whether the pack passes it; none where it could not be tried.
        detail: what was found, or why it was not tried.
    """

    name: str
    passed: bool | None
    detail: str


def check_pack(folder: Path) -> list[PackCheck]:
    """What MONAI's own tools say of a pack, without a network connection.

    Args:
        folder: as :func:`~monai_cellreg.methods.pack_bundle` gives it.

    Returns:
        A check for each of ``verify_metadata`` (by the schema in the pack), ``verify_net_in_out``, ``ckpt_export`` and
        ``onnx_export`` (whose displacements are compared with the network's) and ``load``.
    """
    return [_tried(name, what, extras, folder) for name, (what, extras) in CHECKS.items()]


def _tried(name: str, what: Callable[[Path], str], extras: tuple[str, ...], folder: Path) -> PackCheck:
    if missing := [extra for extra in extras if find_spec(extra) is None]:
        return PackCheck(name, None, f"needs {', '.join(missing)}: pip install {' '.join(missing)}")
    try:
        with _quietly():
            return PackCheck(name, True, what(folder))
    except Exception as error:  # whatever goes wrong in a foreign tool is the answer
        return PackCheck(name, False, " ".join(str(root_cause(error)).split())[:300] or type(error).__name__)


def _metadata(folder: Path) -> str:
    schema = folder / "docs" / "metadata_schema.json"
    verify_metadata(meta_file=str(folder / "configs" / METADATA), filepath=str(schema))
    return "metadata.json has all fields"


def _net_in_out(folder: Path) -> str:
    configs = folder / "configs"
    verify_net_in_out("network_def", str(configs / METADATA), str(configs / INFERENCE), device="cpu")
    form = json.loads((configs / METADATA).read_text(encoding="utf-8"))["network_data_format"]
    shape = (1, form["outputs"]["pred"]["num_channels"], *form["outputs"]["pred"]["spatial_shape"])
    found = tuple(network_in_pack(folder)(example_pair(folder)).shape)
    if found != shape:  # MONAI looks at channels and type alone
        raise ValueError(f"pred has shape {found}, metadata.json says {shape}; correct its spatial_shape")
    return f"image {'x'.join(map(str, example_pair(folder).shape))} to pred {'x'.join(map(str, shape))}"


def _torchscript(folder: Path) -> str:
    return _exported(folder, "model.ts", ckpt_export, lambda path: torch.jit.load(path, map_location="cpu"))


def _onnx(folder: Path) -> str:
    from onnxruntime import InferenceSession

    def opened(path: str) -> Callable[[Tensor], Tensor]:
        session = InferenceSession(path, providers=["CPUExecutionProvider"])
        (name,) = (entry.name for entry in session.get_inputs())
        return lambda image: torch.from_numpy(session.run(None, {name: image.numpy()})[0])

    return _exported(folder, "model.onnx", onnx_export, opened)


def _exported(
    folder: Path, file: str, export: Callable[..., None], opened: Callable[[str], Callable[[Tensor], Tensor]]
) -> str:
    """Exports the network, and compares what comes back with it on a pair that was not used in the export."""
    image, configs = example_pair(folder), folder / "configs"
    with tempfile.TemporaryDirectory() as scratch:
        path = str(Path(scratch) / file)
        export(
            net_id="network_def",
            filepath=path,
            ckpt_file=str(folder / WEIGHTS),
            meta_file=str(configs / METADATA),
            config_file=str(configs / INFERENCE),
            use_trace=True,
            input_shape=list(image.shape),
        )
        with torch.no_grad():
            expected, found = network_in_pack(folder)(image), opened(path)(image)
    difference = float((found - expected).abs().max())
    if not difference <= TOLERANCE_VOX:
        raise ValueError(f"displacements differ by up to {difference:.2g} voxels; expected at most {TOLERANCE_VOX}")
    return f"displacements of up to {float(expected.abs().max()):.1f} voxels, the same to {difference:.1g}"


def _load(folder: Path) -> str:
    weights = torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True)
    for workflow in ("train", "inference"):
        with tempfile.TemporaryDirectory() as scratch:
            write_json(still := Path(scratch) / "arguments.json", {"initialize": []})  # makes no folder, sets no seed
            place = {"bundle_dir": str(folder.parent), "args_file": str(still)}
            state = load(folder.name, workflow_type=workflow, device="cpu", **place).state_dict()
        if unlike := [name for name, value in weights.items() if not torch.equal(state[name], value)]:
            raise ValueError(f"{len(unlike)} weights of {workflow}.json are not those of {WEIGHTS}: {unlike[:3]}")
        if more := sorted(state.keys() - weights.keys()):
            raise ValueError(f"{WEIGHTS} lacks {len(more)} weights of {workflow}.json: {more[:3]}")
    return f"{len(weights)} weights, with train.json and with inference.json"


CHECKS: dict[str, tuple[Callable[[Path], str], tuple[str, ...]]] = {
    "verify_metadata": (_metadata, ("jsonschema",)),
    "verify_net_in_out": (_net_in_out, ()),
    "ckpt_export": (_torchscript, ()),
    "onnx_export": (_onnx, ("onnx", "onnxscript", "onnxruntime")),
    "load": (_load, ()),
}


def network_in_pack(folder: Path, config: str = INFERENCE) -> nn.Module:
    """The network of a pack in its exported form, with its weights, for evaluation."""
    parser = ConfigParser()
    parser.read_config(str(folder / "configs" / config))
    return load_weights(parser.get_parsed_content("network_def"), folder / WEIGHTS).eval()


def example_pair(folder: Path, *, seed: int = 0) -> Tensor:
    """Two smooth images without symmetries as channels, of the size and number that a pack's metadata gives."""
    content = json.loads((folder / "configs" / METADATA).read_text(encoding="utf-8"))
    image = content["network_data_format"]["inputs"]["image"]
    size, count = image["spatial_shape"], image["num_channels"]
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 1, *(5 + axis for axis in range(len(size))), generator=generator)
    coarse = coarse + 0.1 * torch.rand(1, count, *coarse.shape[2:], generator=generator)  # alike, as the two of a pair
    mode = "bilinear" if len(size) == 2 else "trilinear"
    smooth = functional.interpolate(coarse, size=size, mode=mode)
    return (smooth - smooth.min()) / (smooth.max() - smooth.min())


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without what MONAI and PyTorch say on the way, and with logging as it was before a bundle set it."""
    root = logging.getLogger()
    handlers, level, disabled = list(root.handlers), root.level, root.manager.disable
    said: Any = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.disable(logging.WARNING)
            yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers
        root.setLevel(level)
