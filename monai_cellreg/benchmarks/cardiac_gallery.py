"""The picture of the benchmark of hearts: what was registered, and what still differs."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ..geometry import Pair, SpatialTransform, resample
from ..report import Panel, save_panels
from ..utils import plain
from .contenders import Contender, identity_map
from .paired import PairedCase

__all__ = ["save_heart_gallery"]

PAIRS = 2
BRIGHTEST = 0.6  # difference of the brightest colour


def save_heart_gallery(path: str | os.PathLike[str], case: PairedCase, contenders: Sequence[Contender]) -> None:
    """Writes a PNG: of a few pairs the heart with outlines of the labels, and below how far the images differ.

    Two rows a pair. Above: the fixed and the moving image, and the moving one as each method warps it, with the fixed
    label in magenta and the other one in green. Below: absolute differences from the fixed image.

    Args:
        path: file to write, ending in ``.png``.
        case: the pairs, of which two are shown.
        contenders: the methods that are shown.
    """
    names = list(case.pairs)
    shown = list(dict.fromkeys(names[len(names) * (2 * k + 1) // (2 * PAIRS)] for k in range(PAIRS)))
    rows = [row for name in shown for row in _rows(case.pairs[name], contenders)]
    save_panels(path, rows, names=[title for name in shown for title in (name, "difference")])


def _rows(pair: Pair, contenders: Sequence[Contender]) -> list[list[Panel | None]]:
    fixed, fixed_label = (plain(torch.as_tensor(x))[0].numpy() for x in (pair.fixed, pair.fixed_label))
    seen = _around((fixed_label > 0) | (plain(torch.as_tensor(pair.moving_label))[0].numpy() > 0))
    outline = fixed_label[seen] > 0
    above: list[Panel | None] = [Panel(fixed[seen], "fixed", outlines=[outline])]
    below: list[Panel | None] = [None]
    maps = {"moving": identity_map(pair)} | {c.name: c.register([pair])[0].transform for c in contenders}
    for title, transform in maps.items():
        if transform is None:
            above.append(None)
            below.append(None)
            continue
        warped, label = _warped(pair, transform)
        above.append(Panel(warped[seen], title, outlines=[outline, label[seen] > 0]))
        below.append(Panel(np.abs(warped - fixed)[seen], colours="inferno", limits=(0, BRIGHTEST)))
    return [above, below]


def _around(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """A square about what is in a mask (H, W), twice as wide, as far as the image reaches."""
    places = np.argwhere(mask)
    first, last = places.min(axis=0), places.max(axis=0)
    half = int((last - first).max()) + 1
    middle = (first + last) // 2
    return tuple(slice(max(int(m) - half, 0), int(m) + half + 1) for m in middle)


@torch.no_grad()
def _warped(pair: Pair, transform: SpatialTransform) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """The moving image and label (H, W) on the fixed grid."""
    image, label = (plain(torch.as_tensor(x))[None].float() for x in (pair.moving, pair.moving_label))
    grids = pair.fixed_grid, pair.moving_grid
    warped = resample(image, transform, *grids), resample(label, transform, *grids, mode="nearest")
    return warped[0][0, 0].numpy(), warped[1][0, 0].numpy()
