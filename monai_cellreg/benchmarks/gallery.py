"""What maps of each family do to a grid: ``python -m monai_cellreg.benchmarks.gallery --out docs/maps.png``."""

from __future__ import annotations

import argparse
import io
import math
import os

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image

from ..geometry import (
    AffineTransform,
    BSplineTransform,
    DenseTransform,
    RadialBasisTransform,
    SamplingGrid,
    SpatialTransform,
    ThinPlateSplineTransform,
    VelocityTransform,
    control_lattice,
)
from ..utils import atomic_path

__all__ = ["families", "save_gallery"]

SIZE = 64  # pixels of the square that is deformed
LINES = 17
PALETTE = 64  # colours of the file
COLOURS = "plasma_r"


def families() -> dict[str, SpatialTransform]:
    """One map of each family over a square of :data:`SIZE` pixels, always the same, none of which folds."""
    random = torch.Generator().manual_seed(5)
    grid = SamplingGrid((SIZE, SIZE))
    edge, middle = SIZE - 1, (SIZE - 1) / 2
    axis = torch.linspace(0, edge, 4, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    moved = points + 3.2 * torch.randn(points.shape, generator=random, dtype=torch.float64)
    centres = torch.tensor([[0.3 * edge, 0.3 * edge], [0.7 * edge, 0.65 * edge]], dtype=torch.float64)
    pull = torch.tensor([[-4.0, 7.0], [6.0, -5.0]], dtype=torch.float64)
    lattice = control_lattice(grid, control_spacing=12.0)
    knots = 3.2 * torch.randn(1, 2, *lattice.shape, generator=random, dtype=torch.float64)
    offset = grid.world() - middle
    ring = torch.exp(-(offset.square().sum(-1) / (0.3 * SIZE) ** 2))
    swirl = 0.75 * ring * torch.stack([-offset[..., 1], offset[..., 0]])
    wave = 2.2 * torch.sin(2 * math.pi * grid.world() / (0.4 * SIZE)).flip(-1).movedim(-1, 0)
    turn = np.array([[1.0, 0.18], [-0.10, 0.86]])
    affine = np.column_stack([turn, middle - turn @ [middle, middle]])
    return {
        "affine": AffineTransform(affine),
        "thin-plate spline": ThinPlateSplineTransform(points, moved),
        "radial basis": RadialBasisTransform(centres, pull, sigma=0.17 * SIZE),
        "B-spline": BSplineTransform(knots, lattice),
        "velocity": VelocityTransform(swirl[None], grid),
        "dense": DenseTransform(wave[None], grid),
    }


def save_gallery(path: str | os.PathLike[str]) -> None:
    """Writes a PNG with a panel a family: where lines of the fixed image lie in the moving one, darker where moved far.

    Args:
        path: file to write, ending in ``.png``; it appears only when it is complete.
    """
    maps = families()
    figure = Figure(figsize=(2 * len(maps), 2.25), dpi=100, facecolor="white", layout="constrained")
    for axis, (name, transform) in zip(np.ravel(figure.subplots(1, len(maps))), maps.items(), strict=True):
        _draw(axis, transform)
        axis.set_title(name, fontsize=11)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    with atomic_path(path) as temporary:
        Image.open(drawn).convert("RGB").quantize(PALETTE, dither=Image.Dither.NONE).save(temporary, optimize=True)


def _draw(axis: Axes, transform: SpatialTransform) -> None:
    """Rows and columns of a square as the map bends them; row 0 is on top."""
    along, at = np.linspace(0, SIZE - 1, 129), np.linspace(0, SIZE - 1, LINES)
    rows = np.stack(np.broadcast_arrays(at[:, None], along), axis=-1)  # (LINES, 129, 2)
    lines = np.concatenate([rows, rows[..., ::-1]])
    mapped = transform.points(torch.from_numpy(lines).reshape(-1, 2)).reshape(lines.shape).numpy()
    length = np.linalg.norm(mapped - lines, axis=-1)
    segments = np.stack([mapped[:, :-1], mapped[:, 1:]], axis=2)[..., ::-1].reshape(-1, 2, 2)  # x before y
    shades = ((length[:, :-1] + length[:, 1:]) / 2).ravel()
    drawn = LineCollection(list(segments), array=shades, cmap=COLOURS, linewidths=1.0, capstyle="round")
    drawn.set_clim(-0.35 * length.max(), length.max())  # leaves out the lightest colours
    axis.add_collection(drawn)
    axis.set(xlim=(-9, SIZE + 8), ylim=(SIZE + 8, -9), aspect="equal")
    axis.axis("off")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Draw a grid as deformed by a map of each family.")
    parser.add_argument("--out", default="docs/maps.png", help="PNG to write (default: %(default)s)")
    save_gallery(parser.parse_args().out)


if __name__ == "__main__":
    main()
