"""Bundles in the layout of MONAI's model zoo, to be shared."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from ..utils import ensure_writable_dir
from .bundles import SHIPPED, TRAIN, bundle_dir
from .json_files import write_json

INFERENCE, METADATA = "inference.json", "metadata.json"
WEIGHTS = Path("models", "model.pt")
NEEDED = (TRAIN, INFERENCE, METADATA, "logging.conf", "README.md", "LICENSE", "data_license.txt", str(WEIGHTS))
SCHEMA = SHIPPED / "metadata_schema.json"
OTHERS = "others"
Config = dict[str, Any]


def pack_bundle(name: str | os.PathLike[str], out: str | os.PathLike[str], *, replace: bool = False) -> Path:
    """Writes a bundle in the layout of MONAI's model zoo: ``configs/``, ``models/``, ``docs/`` and ``LICENSE``.

    Its ``inference.json`` stands alone, and there ``network_def`` is the network in its exported form
    (:class:`~monai_cellreg.networks.PairAsChannels`); overlays that name their weights get a file like it, such as
    ``inference_mnist.json``. Weights other than ``model.pt`` lie in ``models/others/``, out of sight of MONAI Label,
    which loads the file of the shortest name in ``models/``. All else is as it is, but for paths: ``bundle_root`` is
    the folder that MONAI runs in. Equal bundles give equal files.

    Args:
        name: of the bundle, or the path of one's own whose files lie side by side as in the shipped ones.
        out: folder in which the folder of the pack is made; it gets the bundle's name.
        replace: take the place of an earlier pack.

    Returns:
        The folder of the pack, which is complete.

    Raises:
        ValueError: when there is no such bundle; the message lists those that exist.
        FileNotFoundError: when a file is missing, such as the weights.
        FileExistsError: when the folder exists, and is not to be replaced or no pack.
    """
    source = bundle_dir(name)
    missing = [file for file in NEEDED if not (source / file).is_file()]
    if missing:
        raise FileNotFoundError(
            f"bundle {str(name)!r} has no {', '.join(missing)} in {source}; expected all that is shared. Add what is "
            f"missing; a training writes weights, which belong into {WEIGHTS}"
        )
    target = ensure_writable_dir(out) / source.resolve().name
    if target.exists() and not (replace and (target / "configs" / METADATA).is_file()):
        raise FileExistsError(
            f"folder {target} exists{' and is no pack' if replace else ''}; expected a free name. Choose another folder"
            f"{'' if replace else ', or replace the earlier pack (--replace)'}"
        )
    staging = Path(tempfile.mkdtemp(prefix=".tmp-", dir=out))
    try:
        _write(source, staging / target.name)
        if target.exists():
            os.replace(target, staging / "earlier")
        os.replace(staging / target.name, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def _write(source: Path, pack: Path) -> None:
    """All files of a pack."""
    copies = {"LICENSE": "LICENSE", "logging.conf": "configs/logging.conf", METADATA: f"configs/{METADATA}"}
    for weights in sorted((source / "models").glob("*.pt")):
        copies[f"models/{weights.name}"] = _packed_paths(f"models/{weights.name}")
    for file, place in copies.items():
        (pack / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file, pack / place)
    (pack / "docs").mkdir()
    shutil.copyfile(SCHEMA, pack / "docs" / SCHEMA.name)
    for file in ("README.md", "data_license.txt"):
        text = (source / file).read_text(encoding="utf-8")
        (pack / "docs" / file).write_text(packed_text(text, source.resolve().name), encoding="utf-8")
    for config in sorted(source.glob("*.json")):
        if config.name not in (INFERENCE, METADATA):
            write_json(pack / "configs" / config.name, _packed_config(ConfigParser.load_config_file(config)))
    write_json(pack / "configs" / INFERENCE, packed_inference(source))
    for overlay in _naming_weights(source):
        write_json(pack / "configs" / _inference_of(overlay.stem), packed_inference(source, [overlay.name]))


def packed_inference(source: Path, overlays: Iterable[str] = ()) -> Config:
    """A bundle's ``inference.json`` as a file that stands alone.

    Args:
        source: folder of the bundle.
        overlays: files that change its ``train.json``.

    Returns:
        What inference needs of the files together; ``pair_network_def`` is the network that takes two images, and
        ``network_def`` the same in its exported form. ``preprocessing``, ``inferer`` and ``postprocessing`` bring it to
        a file of two frames.
    """
    merged = ConfigParser.load_config_files([source / file for file in (TRAIN, *overlays, INFERENCE)])
    config = _reached(merged, ("imports", "initialize", "run"))
    pair_inferer, network_def = config.pop("inferer"), config.pop("network_def")
    dims = len(ConfigParser(merged).get_parsed_content("network_def::image_size"))
    return _packed_config(config) | {
        "pair_network_def": network_def,
        "network_def": {"_target_": "monai_cellreg.networks.PairAsChannels", "network": "@pair_network_def"},
        "network": "$@pair_network_def.to(@device)",
        "pair_inferer": pair_inferer,
        "method": config["method"] | {"inferer": "@pair_inferer"},
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "monai_cellreg.methods.FramesAsChannelsd", "keys": "image", "spatial_dims": dims},
            ],
        },
        "inferer": {
            "_target_": "monai_cellreg.methods.WarpedMovingInferer",
            "inferer": "@pair_inferer",
            "refinement": "@refinement",
        },
        "postprocessing": {"_target_": "Compose", "transforms": []},
    }


def packed_text(text: str, name: str) -> str:
    """A bundle's README or licence with the paths that its files have in the pack; other packs lie beside it.

    Example:
        >>> packed_text("From the repository's root: bundles/joint/train.json, bundles/segreg/models/tps.pt", "joint")
        "From this bundle's folder: configs/train.json, ../segreg/models/others/tps.pt"
    """

    def placed(found: re.Match[str]) -> str:
        below = {"/models/": "models/", "/": "configs/"}.get(found[2], "")
        return (below if found[1] == name else f"../{found[1]}/{below}") or "."

    text = text.replace("From the repository's root", "From this bundle's folder")
    text = re.sub(r"\bbundles/(\w+)(/models/|/)?", placed, text)
    text = _packed_paths(re.sub(r"\(\.\./(\w+)/README\.md\)", r"(../../\1/docs/README.md)", text))
    alone = r""""\['configs/train\.json',(?:'configs/(\w+)\.json',)?'configs/inference\.json'\]\""""
    return re.sub(alone, lambda found: f"configs/{_inference_of(found[1]) if found[1] else INFERENCE}", text)


def _packed_config(config: Config) -> Config:
    """A configuration with the paths of the pack."""
    changed = {"bundle_root": "."} if "bundle_root" in config else {}
    if config.get("weights", WEIGHTS.stem) != WEIGHTS.stem:
        changed["weights"] = f"{OTHERS}/{config['weights']}"
    return config | changed


def _packed_paths(text: str) -> str:
    """Paths of weights as they are in the pack."""
    return re.sub(rf"\bmodels/(?!{WEIGHTS.name}\b)(\w+\.pt)\b", rf"models/{OTHERS}/\1", text)


def _naming_weights(source: Path) -> list[Path]:
    """The overlays that name their weights, and so are of use in inference."""
    return [path for path in sorted(source.glob("train_*.json")) if "weights" in ConfigParser.load_config_file(path)]


def _inference_of(overlay: str) -> str:
    """What inference with an overlay is called: ``inference_mnist.json`` with ``train_mnist``."""
    return f"inference_{overlay.removeprefix('train_')}.json"


def _reached(config: Mapping[str, Any], roots: Iterable[str]) -> Config:
    """The entries that some need, found by their references, in the order in which they were."""
    kept: set[str] = set()
    waiting = list(roots)
    while waiting:
        key = waiting.pop()
        if key not in kept:
            kept.add(key)
            waiting += re.findall(r"@(\w+)", json.dumps(config[key]))
    return {key: value for key, value in config.items() if key in kept}
