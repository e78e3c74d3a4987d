"""What an evaluation engine found, as files."""

from __future__ import annotations

import csv
import json
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor

from ..geometry import warp
from ..utils import atomic_path, ensure_writable_dir
from .overlay import PairPicture, iou_table, save_before_after

logger = logging.getLogger(__name__)
ROWS = 4
MOST_GROUPS = 20


def save_evaluation(evaluator: Engine, pairs: Sequence[Mapping[str, Any]], output_dir: str | Path) -> None:
    """Writes ``metrics.json`` (means), ``pairs.csv`` (a row a pair) and ``pairs.png`` (a picture); logs a table.

    Args:
        evaluator: engine that has run over the pairs in their order.
        pairs: dictionaries as :func:`~monai_cellreg.data.made_pairs` gives them.
        output_dir: folder for the files.
    """
    folder = ensure_writable_dir(output_dir)
    rows = pair_rows(evaluator, pairs)
    means = {name: float(value) for name, value in evaluator.state.metrics.items()}
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
    """One dictionary a pair: its group and each metric; for the segmentation the mean of both sides."""
    details = {
        name: value.reshape(len(pairs), -1).double().mean(1).tolist()
        for name, value in evaluator.state.metric_details.items()
    }
    return [
        {"pair": k, "group": pair["group"], **{name: values[k] for name, values in sorted(details.items())}}
        for k, pair in enumerate(pairs)
    ]


def _by_group(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    names = ("unregistered_iou", "registration_iou", "segmentation_iou", "grid_error_px")
    groups = defaultdict(list)
    for row in rows:
        groups[row["group"]].append(row)
    if len(groups) > MOST_GROUPS:  # simulated specimens are a group each
        groups = {"all": list(rows)}
    return [
        {"group": group, **{name: sum(row[name] for row in members) / len(members) for name in names}}
        for group, members in sorted(groups.items())
    ]


@torch.no_grad()
def _picture(pair: Mapping[str, Tensor], evaluator: Engine) -> PairPicture:
    batch = {name: value[None] for name, value in pair.items() if isinstance(value, Tensor)}
    fixed, truth, (moving,), _ = evaluator.prepare_batch(batch, evaluator.state.device)
    ddf = evaluator.inferer(fixed, evaluator.network.eval(), moving)["fixed_to_moving"]
    labels = truth["fixed_label"], truth["moving_label"], warp(truth["moving_label"], ddf, mode="nearest")
    planes = [x[0].cpu().numpy() for x in (fixed[0], moving[0], warp(moving, ddf)[0], ddf, *(y[0] for y in labels))]
    return PairPicture(*planes, str(pair["group"]))
