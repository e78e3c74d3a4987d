"""What ``make demo`` shows: the joint bundle trained on simulated nuclei registers films it has never seen."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..data.synthetic_sequence import simulate_sequence
from ..methods import Method, Registration, bundle_method, picture, register, run_bundle
from ..report import iou_table, save_before_after
from ..utils import atomic_path

FRAMES = 6
FIRST_SEED = 1000  # of the films; training seeds are small numbers


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, registers, and writes ``before_after.png`` and ``table.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="runs/demo", help="folder for weights and results (default: %(default)s)")
    parser.add_argument("--image_size", type=int, default=96, help="of the network, in pixels (default: %(default)s)")
    parser.add_argument("--simulated", type=int, default=1600, help="nuclei to train on (default: %(default)s)")
    parser.add_argument("--max_epochs", type=int, default=5, help="times that each is seen (default: %(default)s)")
    parser.add_argument("--films", type=int, default=8, help="films to register (default: %(default)s)")
    options = parser.parse_args(arguments)
    out = Path(options.out)
    print(f"training on {options.simulated} simulated nuclei, {options.max_epochs} epochs; this takes a few minutes")
    network = {"image_size": options.image_size, "transformer": "tps"}  # the quickest to train that bends
    settings = {"simulated": options.simulated, "max_epochs": options.max_epochs, "output_dir": str(out)}
    run_bundle("joint", [], {**network, **settings})
    method = bundle_method("joint", {**network, "checkpoint": str(out / "model.pt")})
    rows, last = [], []
    for film in tqdm(range(options.films), desc="registering films"):
        results = register_film(film, method)
        rows.append(
            {
                "film": f"{film} ({len(results)} frames)",
                "before": float(np.mean([r.metrics["iou_before"] for r in results])),
                "after": float(np.mean([r.metrics["iou_after"] for r in results])),
            }
        )
        last.append(picture(results[-1], f"film {film}, first and last frame"))
    save_before_after(out / "before_after.png", last[:4])
    with atomic_path(out / "table.json") as temporary:
        Path(temporary).write_text(json.dumps(rows, indent=2) + "\n")
    print(f"\nIoU of the nuclei of every frame with the first frame, before and after registration\n{iou_table(rows)}")
    print(f"\nlook at {out / 'before_after.png'}; the weights are {out / 'model.pt'}")


def register_film(number: int, method: str | Method) -> list[Registration]:
    """All frames of a held-out simulated film registered to its first, with the true labels for the metrics.

    Args:
        number: which film.
        method: see :func:`~monai_cellreg.methods.register`.
    """
    film = simulate_sequence(FRAMES, seed=FIRST_SEED + number)
    return [
        register(
            film.images[0][0],
            film.images[t][0],
            method=method,
            fixed_label=film.labels[0][0],
            moving_label=film.labels[t][0],
        )
        for t in range(1, FRAMES)
    ]


if __name__ == "__main__":
    main()
