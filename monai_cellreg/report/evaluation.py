"""What an evaluation engine found, as files."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor, nn

from ..geometry import warp
from ..utils import atomic_path, ensure_writable_dir
from .overlay import PairPicture, iou_table, save_before_after

logger = logging.getLogger(__name__)
ROWS = 4


def save_evaluation(
    evaluator: Engine, pairs: Sequence[Mapping[str, Any]], network: nn.Module, output_dir: str | Path
) -> None:
    """Writes ``metrics.json`` (means), ``pairs.csv`` (a row a pair) and the picture ``pairs.png``; logs a table by group.

    Args:
        evaluator: engine that has run over the pairs in their order.
        pairs: dictionaries as :func:`~monai_cellreg.data.made_pairs` gives them.
        network: the network evaluated, for the picture.
        output_dir: folder for the files.
    """
    folder = ensure_writable_dir(output_dir)
    rows = pair_rows(evaluator, pairs)
    means = {name: float(value) for name, value in evaluator.state.metrics.items()}
    with atomic_path(folder / "metrics.json") as temporary:
        Path(temporary).write_text(json.dumps({"pairs": len(rows), **means}, indent=2) + "\n")
    with atomic_path(folder / "pairs.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    shown = [pairs[round(k * (len(pairs) - 1) / max(ROWS - 1, 1))] for k in range(min(ROWS, len(pairs)))]
    save_before_after(folder / "pairs.png", [_picture(pair, network) for pair in shown])
    logger.info("%d pairs; written to %s\n%s", len(rows), folder, iou_table([*_by_group(rows)]))


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
    groups = sorted({row["group"] for row in rows})
    if len(groups) > 20:  # simulated specimens are a group each
        groups = ["all"]
    table = []
    for group in groups:
        members = [row for row in rows if group in ("all", row["group"])]
        table.append({"group": group, **{n: sum(row[n] for row in members) / len(members) for n in names}})
    return table


@torch.no_grad()
def _picture(pair: Mapping[str, Tensor], network: nn.Module) -> PairPicture:
    device = next(network.parameters()).device
    fixed, moving, fixed_label, moving_label = (
        pair[name][None].to(device) for name in ("fixed", "moving", "fixed_label", "moving_label")
    )
    ddf = network.eval()(fixed, moving)["fixed_to_moving"]
    warped, warped_label = warp(moving, ddf), warp(moving_label, ddf, mode="nearest")
    planes = [
        x[0].cpu().numpy()
        for x in (fixed[0], moving[0], warped[0], ddf, fixed_label[0], moving_label[0], warped_label[0])
    ]
    return PairPicture(*planes, str(pair["group"]))
