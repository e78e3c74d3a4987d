"""Networks that were trained on the datastore's images, as methods of the server."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...engines import load_checkpoint
from ...methods import Method, bundle_method
from ...utils import check_choice

__all__ = ["BUNDLES", "SUFFIX", "load_settings", "load_trained", "trained_names", "weights_file"]

BUNDLES = ("joint", "segreg", "dirnet")
SUFFIX = "-trained"


def weights_file(app_dir: str | os.PathLike[str], bundle: str) -> Path:
    """Where the weights of a bundle's training on the datastore are: one file with all that loading them needs.

    It holds ``network``, the weights by their names, as :func:`monai_cellreg.engines.load_weights` takes them, and
    ``settings`` with ``overlays`` and ``overrides`` of the bundle's configuration.

    Args:
        app_dir: the server's work folder.
        bundle: name of the bundle.
    """
    return Path(app_dir) / "model" / bundle / "model.pt"


def trained_names(app_dir: str | os.PathLike[str]) -> list[str]:
    """Methods that trainings on the datastore have given, such as ``"joint-trained"``."""
    return [bundle + SUFFIX for bundle in BUNDLES if weights_file(app_dir, bundle).is_file()]


def load_trained(app_dir: str | os.PathLike[str], name: str) -> Method:
    """The method of a name, loaded again only when another training has replaced its weights.

    Args:
        app_dir: the server's work folder.
        name: one of :func:`trained_names`.

    Raises:
        ValueError: for another name; when the file is damaged or not one of ours.
    """
    check_choice("method", name, trained_names(app_dir))
    bundle = name.removesuffix(SUFFIX)
    path = weights_file(app_dir, bundle).resolve()
    stat = path.stat()
    return _loaded(bundle, path, (stat.st_mtime_ns, stat.st_size, stat.st_ino))


def load_settings(path: Path) -> dict[str, Any]:
    """The ``settings`` of a file of weights, see :func:`weights_file`.

    Raises:
        FileNotFoundError: when it is missing.
        ValueError: when it is damaged or not one of ours.
    """
    settings: Any = load_checkpoint(path).get("settings")
    if not isinstance(settings, dict) or not {"overlays", "overrides"} <= settings.keys():
        raise ValueError(
            f"weights {str(path)!r} do not tell how they were trained; expected a file that a training on the "
            "datastore has written. Remove it, and train again"
        )
    return settings


@lru_cache(maxsize=len(BUNDLES))
def _loaded(bundle: str, path: Path, stamp: tuple[int, ...]) -> Method:
    settings = load_settings(path)
    return bundle_method(bundle, {**settings["overrides"], "checkpoint": str(path)}, overlays=settings["overlays"])
