"""Templates to self-contained pages: everything is in the one file, and nothing is fetched."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import datetime
from importlib import metadata
from typing import Any

import jinja2

from .. import __version__
from ..utils import atomic_path

__all__ = ["versions", "write_page"]

LIBRARIES = ("torch", "monai", "numpy")


def versions() -> dict[str, str]:
    """What the page was made with, and when."""
    return {
        "monai_cellreg": __version__,
        **{name: metadata.version(name) for name in LIBRARIES},
        "Python": platform.python_version(),
        "Platform": platform.platform(),
        "Written": datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
    }


def write_page(path: str | os.PathLike[str], template: str, context: Mapping[str, Any]) -> None:
    """Writes a page; it appears only when it is complete.

    Args:
        path: file to write, ending in ``.html``.
        template: name of a file beside this one, in ``templates``.
        context: what the template names; text is escaped.

    Raises:
        ValueError: if ``path`` does not end in ``.html``.
    """
    if not str(path).lower().endswith((".html", ".htm")):
        raise ValueError(f"path is {str(path)!r}, expected a name that ends in .html; rename the page")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("monai_cellreg.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template(template).render(**context, versions=versions())
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
