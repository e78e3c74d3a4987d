"""``make mutants``: plants one mistake at a time in a copy of the package and shows which test notices it.

A mutation that no test notices is a hole in the tests: the command then ends with status 1.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
GEOMETRY = "monai_cellreg/geometry/"
TESTS = ("tests/geometry", "tests/contracts/test_transforms.py", "tests/contracts/test_heads.py")


@dataclass(frozen=True)
class Mutation:
    """One mistake.

    Args:
        kind: what goes wrong, in a few words.
        file: of the geometry.
        old: text that occurs there once.
        new: what it becomes.
    """

    kind: str
    file: str
    old: str
    new: str

    def applied(self, text: str) -> str:
        """The file's text with the mistake.

        Raises:
            ValueError: when the text to change does not occur exactly once: the mutation has to follow the code.
        """
        if text.count(self.old) != 1:
            raise ValueError(
                f"mutation {self.kind!r} looks for {self.old!r}, found {text.count(self.old)} times in {self.file}; "
                "expected it once. Adapt tests/mutants.py to the code"
            )
        return text.replace(self.old, self.new)


MUTATIONS: tuple[Mutation, ...] = (
    Mutation("axis order: grid_sample is given z, y, x", "sampling.py", "tuple(parts[::-1])", "tuple(parts)"),
    Mutation("N for N - 1: width of the cube in voxels", "sampling.py", "max(size - 1, 1)", "max(size, 1)"),
    Mutation("sign: a warp moves the other way", "sampling.py", "shift, alpha=2 / _span", "shift, alpha=-2 / _span"),
    Mutation("N for N - 1: cube of a grid", "grid.py", "dtype=np.float64) - 1) / 2", "dtype=np.float64)) / 2"),
    Mutation("half a voxel: origin of a resized grid", "grid.py", "(scale - 1) / 2", "scale / 2"),
    Mutation(
        "spacing: rows for columns",
        "grid.py",
        "norm(self.affine[:-1, :-1], axis=0)",
        "norm(self.affine[:-1, :-1], axis=1)",
    ),
    Mutation("RAS/LPS: an LPS image taken for RAS", "grid.py", "1.0 if letter == letters[0] else -1.0", "1.0"),
    Mutation(
        "inverse: world to index by the affine itself",
        "grid.py",
        "np.linalg.inv(self.affine), world",
        "self.affine, world",
    ),
    Mutation(
        "composition order: last map first",
        "transform.py",
        "in self.transforms:\n            points",
        "in self.transforms[::-1]:\n            points",
    ),
    Mutation(
        "composition order: inverses not reversed",
        "transform.py",
        "for t in reversed(self.transforms)",
        "for t in self.transforms",
    ),
    Mutation(
        "sign: implicit function theorem",
        "transform.py",
        "return x - torch.linalg.solve_ex",
        "return x + torch.linalg.solve_ex",
    ),
    Mutation(
        "composition order: merged affines",
        "affine.py",
        "[linear @ self.matrix[..., :-1], linear",
        "[self.matrix[..., :-1] @ linear, linear",
    ),
    Mutation("sign: shift of an inverse affine", "affine.py", "[linear, -linear @", "[linear, linear @"),
    Mutation("spacing: a rigid field turns in voxels", "affine.py", "p.new_tensor([h * s for", "p.new_tensor([h for"),
    Mutation(
        "sign: direction of a rotation",
        "affine.py",
        "[zero, -z, y, z, zero, -x, -y, x, zero]",
        "[zero, z, -y, -z, zero, x, y, -x, zero]",
    ),
    Mutation("transposed: Jacobian", "derivatives.py", "torch.stack(rows, dim=-2)", "torch.stack(rows, dim=-1)"),
    Mutation(
        "transposed: Jacobian by differences",
        "derivatives.py",
        "for way in ways], dim=-1)",
        "for way in ways], dim=-2)",
    ),
    Mutation(
        "frames: displacement read on the fixed grid",
        "interop.py",
        "moving_grid.world_to_index",
        "fixed_grid.world_to_index",
    ),
    Mutation("N for N - 1: voxels of a unit of the cube", "interop.py", "[2 / (s - 1) if", "[2 / s if"),
    Mutation("sign: kernel of smoothed splines in 3D", "tps.py", "if dims == 2 else -1.0", "if dims == 2 else 1.0"),
    Mutation("factor: width of a Gaussian", "rbf.py", "(-0.5 * square)", "(-square)"),
    Mutation(
        "order: offset of the B-spline lattice",
        "bspline_lattice.py",
        "-(order - 1) / 2 * extent",
        "-order / 2 * extent",
    ),
    Mutation(
        "N for N - 1: cells of a lattice",
        "bspline_lattice.py",
        "np.array(grid.shape) - 1, 1)",
        "np.array(grid.shape), 1)",
    ),
    Mutation("weights: a cubic spline mirrored", "bspline_kernel.py", "return v * v * v / 6", "return u * u * u / 6"),
    Mutation(
        "sign: flow of the inverse",
        "velocity.py",
        "VelocityTransform(-self.velocity",
        "VelocityTransform(self.velocity",
    ),
    Mutation(
        "N for N - 1: one squaring too few", "velocity.py", "for _ in range(steps):", "for _ in range(steps - 1):"
    ),
    Mutation(
        "units: velocities taken for voxels",
        "velocity.py",
        "_turned(np.linalg.inv(linear), self.velocity)",
        "self.velocity",
    ),
    Mutation("RAS/LPS: third axis turned too", "itk.py", "[-1.0, -1.0, 1.0]", "[-1.0, -1.0, -1.0]"),
    Mutation("RAS/LPS: second axis not turned", "itk.py", "[-1.0, -1.0, 1.0]", "[-1.0, 1.0, 1.0]"),
    Mutation("axis order: index frame not reversed", "itk.py", "np.eye(dims)[::-1] if", "np.eye(dims) if"),
    Mutation(
        "spacing: norm of rows in a file", "itk.py", "np.linalg.norm(linear, axis=0)", "np.linalg.norm(linear, axis=1)"
    ),
    Mutation("axis order: voxels of a RAS volume", "itk.py", "x y z c -> z y x c", "x y z c -> z x y c"),
    Mutation(
        "composition order: ITK composites",
        "itk.py",
        "for n in reversed(range(kind.GetNumberOfTransforms()))",
        "for n in range(kind.GetNumberOfTransforms())",
    ),
    Mutation(
        "composition order: elastix chains",
        "elastix.py",
        "maps.insert(0, parse_elastix(found))",
        "maps.append(parse_elastix(found))",
    ),
    Mutation(
        "transposed: direction of an elastix grid", "elastix.py", "(dims, dims)).T  # column", "(dims, dims))  # column"
    ),
    Mutation(
        "transposed: rotation of a rigid fit",
        "fitting.py",
        "covariance = (w * y).mT @ x",
        "covariance = (w * x).mT @ y",
    ),
)


def main() -> int:
    """Plants every mutation, prints a Markdown table and gives the number of survivors as status 0 or 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="WORD", help="plant only mutations whose kind has this word")
    chosen = [m for m in MUTATIONS if parser.parse_args().only in m.kind]
    print("| mutation | file | caught by |\n|---|---|---|")
    survivors = 0
    for mutation in tqdm(chosen, desc="mutations", unit="mutation"):
        caught = first_failure(mutation)
        survivors += caught is None
        tqdm.write(f"| {mutation.kind} | {mutation.file} | {caught or '**nothing**'} |", file=sys.stdout)
    print(f"\n{len(chosen) - survivors} of {len(chosen)} mutations caught")
    return int(survivors > 0 or not chosen)


def first_failure(mutation: Mutation) -> str | None:
    """The first test that fails with the mutation in a copy of the package; none when all pass."""
    with tempfile.TemporaryDirectory() as folder:
        for part in ("monai_cellreg", "tests"):
            shutil.copytree(ROOT / part, Path(folder) / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        target = Path(folder) / GEOMETRY / mutation.file
        target.write_text(mutation.applied(target.read_text(encoding="utf-8")), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "--no-header", "-p", "no:cacheprovider", *TESTS]
        environment = {**os.environ, "PYTHONPATH": folder, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if run.returncode == 0:
        return None
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", run.stdout, re.MULTILINE)
    if run.returncode not in (1, 2) or not failed:
        raise RuntimeError(f"mutation {mutation.kind!r}: the tests could not run:\n{run.stdout[-2000:]}{run.stderr}")
    return failed[1]


if __name__ == "__main__":
    sys.exit(main())
