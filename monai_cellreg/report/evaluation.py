"""What an evaluation engine found, as files."""

from __future__ import annotations

import csv
import json
import logging
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor

from ..geometry import warp
from ..metrics.pairwise import known_mean
from ..utils import atomic_path, ensure_writable_dir
from .overlay import PairPicture, iou_table, save_before_after

logger = logging.getLogger(__name__)
ROWS = 4
MOST_GROUPS = 20
NAMES = ("group", "subject")  # what a pair says that it is of


def save_evaluation(evaluator: Engine, pairs: Sequence[Mapping[str, Any]], output_dir: str | Path) -> None:
    """Writes ``metrics.json`` (means), ``pairs.csv`` (a row a pair) and ``pairs.png`` (a picture); logs a table.

    What could not be measured, such as the overlap of labels that a pair lacks, is left out of the means. The table has
    a line a group; of more than ``MOST_GROUPS``, one a subject where the pairs name theirs; of more subjects, one line.

    Args:
        evaluator: engine that has run over the pairs in their order.
        pairs: dictionaries as :func:`~monai_cellreg.data.made_pairs` or
            :class:`~monai_cellreg.data.PairsOfGroups` give them, with or without labels, in 2D or 3D.
        output_dir: folder for the files.
    """
    folder = ensure_writable_dir(output_dir)
    rows = pair_rows(evaluator, pairs)
    means = {name: float(value) for name, value in evaluator.state.metrics.items()}
    means = {name: value if math.isfinite(value) else None for name, value in means.items()}  # JSON knows no NaN
    with atomic_path(folder / "metrics.json") as temporary:
        Path(temporary).write_text(json.dumps({"pairs": len(rows), **means}, indent=2) + "\n")
    with atomic_path(folder / "pairs.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    shown = [pairs[round(k * (len(pairs) - 1) / max(ROWS - 1, 1))] for k in range(min(ROWS, len(pairs)))]
    save_before_after(folder / "pairs.png", [_picture(pair, evaluator) for pair in shown])
    logger.info("%d pairs; written to %s\n%s", len(rows), folder, iou_table(_by_group(rows)))


def pair_rows(evaluator: Engine, pairs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One dictionary a pair: what it is of, and each metric, the mean of its numbers (sides, labels) that are known."""
    details = {
        name: known_mean(value.reshape(len(pairs), -1).double()).tolist()
        for name, value in evaluator.state.metric_details.items()
    }
    return [
        {
            "pair": k,
            **{name: pair[name] for name in NAMES if name in pair},
            **{name: values[k] for name, values in sorted(details.items())},
        }
        for k, pair in enumerate(pairs)
    ]


def _by_group(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    metrics = [name for name in rows[0] if name not in ("pair", *NAMES)]
    groups: dict[str, list[Mapping[str, Any]]] = {"all": list(rows)}  # simulated specimens are a group each
    for name in NAMES:
        parts = defaultdict(list)
        for row in rows:
            parts[row.get(name, "")].append(row)
        if name in rows[0] and len(parts) <= MOST_GROUPS:
            groups = parts
            break
    return [
        {"group": group, **{name: _mean([row[name] for row in members]) for name in metrics}}
        for group, members in sorted(groups.items())
    ]


def _mean(values: Sequence[float]) -> float:
    return float(known_mean(torch.tensor(values, dtype=torch.float64)))


@torch.no_grad()
def _picture(pair: Mapping[str, Any], evaluator: Engine) -> PairPicture:
    """The pair as the network sees it; of volumes the middle plane of the first axis, with what moves within it."""
    batch = {name: value[None] for name, value in pair.items() if isinstance(value, Tensor)}
    fixed, truth, (moving,), _ = evaluator.prepare_batch(batch, evaluator.state.device)
    ddf = evaluator.inferer(fixed, evaluator.network.eval(), moving)["fixed_to_moving"]
    masks = _masks(truth) or (torch.zeros_like(fixed), torch.zeros_like(fixed))
    warped, warped_mask = warp(moving, ddf), warp(masks[1], ddf, mode="nearest")
    planes = [_plane(x[0, 0]) for x in (fixed, moving, warped, *masks, warped_mask)]
    field = torch.stack([_plane(component) for component in ddf[0, -2:]])
    images = [x.cpu().numpy() for x in (*planes[:3], field, *planes[3:])]
    return PairPicture(*images, str(pair["group"]))


def _masks(truth: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
    """Where the fixed and the moving label map have a label that both have; none of pairs without labels.

    What one side alone has, such as muscle that is outlined at end diastole only, says nothing about the fit.
    """
    if "fixed_label" not in truth:
        return None
    sides = [truth[f"{side}_label"].round() for side in ("fixed", "moving")]
    values = [side[side != 0].unique() for side in sides]
    both = values[0][torch.isin(values[0], values[1])]
    fixed, moving = (torch.isin(side, both).float() for side in sides)
    return fixed, moving


def _plane(image: Tensor) -> Tensor:
    """(H, W) of an image (H, W), or the middle plane of a volume (D, H, W)."""
    return image[len(image) // 2] if image.ndim == 3 else image
