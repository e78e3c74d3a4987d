"""Bundles by name: their folders, their runs and the methods that they describe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from ..engines import StrictConfigWorkflow, override, root_cause
from ..utils import check_choice
from .method import Method

PACKAGE = Path(__file__).resolve().parent.parent


def bundle_dir(name: str) -> Path:
    """The folder of a bundle, in the checkout and in an installed package alike.

    Raises:
        ValueError: when there is no such bundle; the message lists those that exist.
    """
    root = PACKAGE / "bundles"
    check_choice("bundle", name, sorted(p.parent.name for p in root.glob("*/train.json")))
    return root / name


def bundle_files(name: str, overlays: Sequence[str] = ()) -> list[str]:
    """Paths of a bundle's ``train.json`` and of overlays, in the order in which MONAI merges them.

    Raises:
        ValueError: for an unknown bundle or overlay; the message lists those that exist.
    """
    folder = bundle_dir(name)
    known = sorted({path.name for path in folder.glob("*.json")} - {"train.json", "metadata.json"})
    for overlay in overlays:
        check_choice(f"overlay of {name}", overlay, known)
    return [str(folder / file) for file in ("train.json", *overlays)]


def run_bundle(name: str, overlays: Sequence[str], overrides: Mapping[str, Any]) -> None:
    """Runs a bundle's ``train.json``, changed by overlays, as ``python -m monai.bundle run`` does.

    Args:
        name: of the bundle.
        overlays: further configuration files of the bundle, such as ``evaluate.json``; later ones win.
        overrides: key of the configuration to value; ``::`` reaches inside.

    Raises:
        KeyError: for an override that names no key.
        ValueError: for an unknown bundle or overlay.
    """
    workflow = StrictConfigWorkflow(bundle_files(name, overlays), overrides=overrides)
    workflow.initialize()
    workflow.run()
    workflow.finalize()


def bundle_method(name: str, overrides: Mapping[str, Any] | None = None, *, overlays: Sequence[str] = ()) -> Method:
    """The method that a bundle's ``inference.json`` describes, with its shipped weights unless overridden.

    Args:
        name: of the bundle.
        overrides: key of the configuration to value, such as ``checkpoint`` and ``image_size`` of your own training.
        overlays: further configuration files of the bundle that the training had, such as ``train_mnist.json``.

    Raises:
        KeyError: for an override that names no key.
        FileNotFoundError: when there are no weights.
        ValueError: for an unknown bundle or overlay, or weights that do not fit.
    """
    parser = ConfigParser()
    parser.read_config(bundle_files(name, [*overlays, "inference.json"]))
    override(parser, overrides or {})
    try:
        return parser.get_parsed_content("method")
    except RuntimeError as error:
        cause = root_cause(error)
        raise cause from cause.__cause__
