"""The report of a registration that lies in files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..geometry import RegisteredTransform, read_transform, resample_image
from .pair_files import PairFiles, PathLike, read_images
from .pixel_size import pair_in_one_unit
from .registration import Registration
from .run_record import RECORD, read_told

__all__ = ["REPORT", "report_files", "write_report"]

REPORT = "report.html"


def report_files(folder: PathLike) -> Path:
    """Writes ``report.html`` anew from the files of a finished registration.

    Args:
        folder: what :func:`~monai_cellreg.methods.register_files` has written to; the images must lie where they were.

    Returns:
        The page.

    Raises:
        FileNotFoundError: when the folder holds no registration, or a file of it is gone.
        ValueError: when a file is damaged or has changed its size.
    """
    content = read_told(Path(folder) / RECORD)
    pages = {name: content.get(name) for name in ("fixed_page", "moving_page")}
    pair, _ = pair_in_one_unit(*read_images(content["fixed"], content["moving"], **pages))
    found = read_transform(Path(folder) / content["transform"], pair.fixed_grid.frame)
    transform = RegisteredTransform(found, pair.fixed_grid, pair.moving_grid)
    warped = resample_image(pair.moving, transform, pair.fixed_grid)
    result = Registration(transform, warped, content["metrics"], pair, content["method"], tuple(content["account"]))
    page = Path(folder) / REPORT
    write_report(result, page, content)
    return page


def write_report(result: Registration, path: Path, content: Mapping[str, Any]) -> None:
    """The page, with the names of the files and what was asked for, as ``metrics.json`` holds them."""
    names = {name: content[name] for name in ("fixed", "moving", *PairFiles.__dataclass_fields__) if name in content}
    parameters = {name.replace("_", " ").capitalize(): str(value) for name, value in names.items()}
    title = f"{Path(content['moving']).name} onto {Path(content['fixed']).name}"
    result.report(path, title=title, parameters={**parameters, **content["parameters"]})
