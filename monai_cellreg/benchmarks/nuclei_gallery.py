"""The picture of the benchmark of nuclei: a few films before and after, by the best method of each table."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from ..geometry import Pair, SpatialTransform, resample, to_voxel_ddf
from ..report import PairPicture, save_before_after
from ..utils import plain
from .cases_summary import UNREGISTERED
from .contenders import Contender
from .nuclei_sequences import Sequences
from .nuclei_summary import NucleiSummary

__all__ = ["save_nuclei_gallery"]

FILMS = 3


def save_nuclei_gallery(
    path: str | os.PathLike[str],
    sequences: Sequences,
    contenders: Sequence[Contender],
    lines: Sequence[NucleiSummary],
) -> None:
    """Writes a PNG: the last frame of a few films registered to the first, with the outlines of the true nuclei.

    Args:
        path: file to write, ending in ``.png``.
        sequences: the films, of which three are shown.
        contenders: the methods; of several networks of one name the first is shown.
        lines: what they reached, by which the best of each table is chosen.
    """
    first = {contender.name: contender for contender in reversed(contenders)}
    shown = [first[name] for name in _best(lines)]
    pictures = []
    for film, load in sequences.limited(FILMS).films.items():
        pairs = load().pairs()
        pair = pairs[-1]
        for contender in shown:
            found = contender.register([pair])[0].transform
            if found is not None:
                pictures.append(_picture(pair, found, f"{film}, frame {len(pairs)}: {contender.name}"))
    if pictures:
        save_before_after(path, pictures)


def _best(lines: Sequence[NucleiSummary]) -> list[str]:
    """The method of the highest registration IoU in each table."""
    tables = dict.fromkeys(line.table for line in lines)
    competing = [line for line in lines if line.method != UNREGISTERED]
    return [max((x for x in competing if x.table == table), key=lambda x: x.iou.mean).method for table in tables]


@torch.no_grad()
def _picture(pair: Pair, transform: SpatialTransform, name: str) -> PairPicture:
    sides = [plain(torch.as_tensor(x))[None].float() for x in (pair.fixed, pair.moving)]
    labels = [(plain(torch.as_tensor(x))[None] > 0).float() for x in (pair.fixed_label, pair.moving_label)]
    grids = pair.fixed_grid, pair.moving_grid
    warped = resample(sides[1], transform, *grids)
    warped_label = resample(labels[1], transform, *grids, mode="nearest")
    field = to_voxel_ddf(transform, *grids)
    planes = [x[0, 0].cpu().numpy() for x in (*sides, warped)]
    masks = [x[0, 0].cpu().numpy() for x in (*labels, warped_label)]
    return PairPicture(*planes, field[0].cpu().numpy(), *masks, name)
