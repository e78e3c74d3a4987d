"""The protocol of the paper: all frames of a film registered to its first, by every method in turn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import torch
from tqdm import tqdm

from .. import __version__
from ..geometry import Pair, SpatialTransform, resample
from ..methods.evaluate import map_scores
from ..metrics import registration_iou
from ..utils import plain
from .cases_summary import UNREGISTERED
from .contenders import Contender, found_scores, identity_map
from .journal import Journal, Row
from .nuclei_contenders import segmented
from .nuclei_sequences import Sequences
from .threads import limited_threads

__all__ = ["frame_scores", "measured"]

ROWS = "rows.jsonl"


@torch.no_grad()
def frame_scores(pair: Pair, transform: SpatialTransform) -> dict[str, float]:
    """Scores of a map of one frame.

    Args:
        pair: the first frame, fixed, and a later one, moving, with labels.
        transform: fixed to moving world points.

    Returns:
        ``iou_before`` and ``iou_after`` of the labels, the moving one warped without mixing, and ``folding_fraction``.
    """
    fixed, moving = ((plain(torch.as_tensor(x))[None] > 0).float() for x in (pair.fixed_label, pair.moving_label))
    warped = resample(moving, transform, pair.fixed_grid, pair.moving_grid, mode="nearest")
    return {
        "iou_before": float(registration_iou(fixed, moving)),
        "iou_after": float(registration_iou(fixed, warped)),
        "folding_fraction": map_scores(transform, pair.fixed_grid)["folding_fraction"],
    }


def measured(
    sequences: Sequences,
    contenders: Sequence[Contender],
    folder: Path,
    *,
    threads: int = 1,
    resume: bool = True,
    progress: bool = False,
) -> list[Row]:
    """Registers every film by every method and scores each later frame.

    Rows are added to ``rows.jsonl`` film by film, so that an interrupted run goes on where it was; a network with other
    weights than its rows is measured again. Where a method gives no map, its row keeps the reason and counts as
    unregistered.

    Args:
        sequences: the films.
        contenders: the methods; each with a label of its own.
        folder: for the rows; it exists.
        threads: processor threads that a method may use.
        resume: go on where an earlier run in the folder ended.
        progress: show a progress bar on stderr.

    Returns:
        One row a film, method and later frame: ``pair`` (film and frame), ``method`` (the label), ``name``,
        ``sequence``, ``frame``, ``weights``, ``failure``, ``seconds`` and the scores; in each film
        the unregistered frames come first.

    Raises:
        ValueError: when the folder holds the rows of other films.
    """
    identity = json.dumps([sequences.name, sequences.fingerprint, threads, __version__])
    journal = Journal(folder / ROWS, sha256(identity.encode()).hexdigest(), resume=resume)
    rows: list[Row] = []
    turns = tqdm(total=len(sequences.films), desc="registering", unit="film", disable=not progress, leave=False)
    with limited_threads(threads), turns as bar:
        for film, load in sequences.films.items():
            pairs = load().pairs()
            names = [f"{film} t{t:02d}" for t in range(1, len(pairs) + 1)]
            for contender in (None, *contenders):
                label = contender.label if contender else UNREGISTERED
                known = [journal.rows.get((name, label)) for name in names]
                if not all(row and row["weights"] == (contender.weights if contender else "") for row in known):
                    bar.set_postfix_str(f"{film}, {label}")
                    for t, row in enumerate(_film_rows(pairs, contender), start=1):
                        journal.add({"pair": names[t - 1], "method": label, "sequence": film, "frame": t, **row})
                rows += [journal.rows[name, label] for name in names]
            bar.update()
    return rows


def _film_rows(pairs: Sequence[Pair], contender: Contender | None) -> list[Row]:
    """What a method reaches on the later frames of a film; without one, the unregistered frames."""
    if contender is None:
        head = {"name": UNREGISTERED, "weights": "", "failure": None, "seconds": 0.0}
        return [{**head, **frame_scores(pair, identity_map(pair))} for pair in pairs]
    rows = []
    for pair, found in zip(pairs, contender.register(pairs), strict=True):
        head = {"name": contender.name, "weights": contender.weights}
        rows.append({**head, **found_scores(pair, found, frame_scores), **_segmentation(pair, contender)})
    return rows


def _segmentation(pair: Pair, contender: Contender) -> Row:
    """The IoU of the mask that the method finds in the later frame with its label, of methods that segment."""
    mask = segmented(contender, pair.moving)
    if mask is None:
        return {}
    label = plain(torch.as_tensor(pair.moving_label))[None] > 0
    return {"segmentation_iou": float(registration_iou(label.float(), mask[None].float()))}
