"""Bundles: their folders, their runs and the methods that they describe."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from ..engines import StrictConfigWorkflow, override, root_cause
from ..utils import check_choice
from .method import Method

SHIPPED = Path(__file__).resolve().parent.parent / "bundles"
TRAIN = "train.json"

BundleLike = str | os.PathLike[str]
"""A shipped bundle by its name, or one's own by the path of its folder."""


def bundle_dir(bundle: BundleLike) -> Path:
    """The folder of a bundle, which holds its ``models/``.

    Args:
        bundle: name of a shipped one, in the checkout and in an installed package alike; or the path of a folder with a
            ``train.json`` in it or, as in MONAI's model zoo, in its ``configs/``. A name wins: ``./joint`` is a path.

    Raises:
        ValueError: when there is no such bundle; the message lists the shipped ones.
    """
    shipped = sorted(path.parent.name for path in SHIPPED.glob(f"*/{TRAIN}"))
    if str(bundle) in shipped:
        return SHIPPED / bundle
    folder = Path(bundle)
    if len(folder.parts) == 1 and not folder.is_dir():
        check_choice("bundle", str(bundle), shipped)
    if not (_configs(folder) / TRAIN).is_file():
        raise ValueError(
            f"bundle is {str(bundle)!r}, {'a folder without' if folder.is_dir() else 'which is no folder with'} a "
            f"{TRAIN}; expected the folder of a bundle, or one of {', '.join(map(repr, shipped))}. To change one of "
            "these, name it, and write what differs to a JSON file that is given as overlay"
        )
    return folder


def bundle_files(bundle: BundleLike, overlays: Sequence[BundleLike] = ()) -> list[str]:
    """Paths of a bundle's ``train.json`` and of overlays, in the order in which MONAI merges them.

    Args:
        bundle: see :func:`bundle_dir`.
        overlays: names of the bundle's further configuration files, or paths of one's own.

    Raises:
        ValueError: for an unknown bundle or overlay; the message lists those that exist.
        FileNotFoundError: for the path of an overlay where there is no file.
    """
    folder = _configs(bundle_dir(bundle))
    known = sorted({path.name for path in folder.glob("*.json")} - {TRAIN, "metadata.json"})
    return [str(folder / TRAIN), *(str(_overlay(overlay, folder, known, bundle)) for overlay in overlays)]


def _overlay(overlay: BundleLike, folder: Path, known: Sequence[str], bundle: BundleLike) -> Path:
    if str(overlay) in known:
        return folder / overlay
    path = Path(overlay)
    if not path.is_file():
        if len(path.parts) == 1:
            check_choice(f"overlay of {bundle}", str(overlay), known)
        raise FileNotFoundError(
            f"overlay {str(overlay)!r} does not exist; expected a configuration file, or one of {', '.join(known)}"
        )
    return path


def _configs(folder: Path) -> Path:
    """Where a bundle's configuration lies: in its folder, as here, or below it, as in MONAI's model zoo."""
    return folder / "configs" if (folder / "configs" / TRAIN).is_file() else folder


def _placed(bundle: BundleLike, parser: ConfigParser) -> None:
    """Tells the configuration of one's own bundle where it lies, from wherever it is run."""
    folder = bundle_dir(bundle)
    if folder.parent != SHIPPED and "bundle_root" in parser:
        parser["bundle_root"] = str(folder)


def run_bundle(bundle: BundleLike, overlays: Sequence[BundleLike], overrides: Mapping[str, Any]) -> None:
    """Runs a bundle's ``train.json``, changed by overlays, as ``python -m monai.bundle run`` does.

    Args:
        bundle: name, or path of one's own; its key ``bundle_root`` then names its folder.
        overlays: further configuration files: names of the bundle's, such as ``evaluate.json``, or paths of one's own;
            later ones win.
        overrides: key of the configuration to value; ``::`` reaches inside.

    Raises:
        KeyError: for an override that names no key.
        ValueError: for an unknown bundle or overlay.
    """
    workflow = StrictConfigWorkflow(bundle_files(bundle, overlays))
    _placed(bundle, workflow.parser)
    override(workflow.parser, overrides)
    workflow.initialize()
    workflow.run()
    workflow.finalize()


def bundle_method(
    bundle: BundleLike, overrides: Mapping[str, Any] | None = None, *, overlays: Sequence[BundleLike] = ()
) -> Method:
    """The method that a bundle's ``inference.json`` describes, with its shipped weights unless overridden.

    Args:
        bundle: name, or path of one's own.
        overrides: key of the configuration to value, such as ``checkpoint`` and ``image_size`` of your own training.
        overlays: further configuration files that the training had: such as ``train_mnist.json``, or paths of one's
            own.

    Raises:
        KeyError: for an override that names no key.
        FileNotFoundError: when there are no weights.
        ValueError: for an unknown bundle or overlay, or weights that do not fit.
    """
    parser = ConfigParser()
    # overlays last: the inference.json of a packed bundle repeats the settings that they change
    parser.read_config(bundle_files(bundle, ["inference.json", *overlays]))
    _placed(bundle, parser)
    override(parser, overrides or {})
    try:
        return parser.get_parsed_content("method")
    except RuntimeError as error:
        cause = root_cause(error)
        raise cause from cause.__cause__
