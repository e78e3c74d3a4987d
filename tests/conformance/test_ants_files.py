"""The files of ANTs, an affine and a warp, are read as the maps that ANTs applies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_cellreg.geometry import (
    AffineTransform,
    BSplineTransform,
    DenseTransform,
    SamplingGrid,
    control_lattice,
    read_transform,
    write_transform,
)

ants = pytest.importorskip("ants")
pandas = pytest.importorskip("pandas")  # as ANTs takes points
Physical = Any
SIZES = {2: (36, 30), 3: (20, 18, 16)}


def blobs(dims: int, *, bent: bool) -> Any:
    """Bright spots on a turned grid, away from the origin; each moved in its own way when ``bent``."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(4, np.array(SIZES[dims]) - 5, (9, dims))
    centres += bent * rng.uniform(-0.5, 2, centres.shape)
    index = np.indices(SIZES[dims]).reshape(dims, -1)
    square = ((index[None] - centres[..., None]) ** 2).sum(1)
    values = (100 * np.exp(-square / 12).sum(0)).reshape(SIZES[dims]).astype(np.float32)
    direction = np.eye(dims)
    direction[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    spacing, origin = (1.1, 0.8, 1.4)[:dims], (5.0, -7.0, 3.0)[:dims]
    return ants.from_numpy(values, origin=origin, spacing=spacing, direction=direction)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Path, Path]]:
    """Warp and affine of a short SyN registration in 2D and in 3D."""
    found = {}
    for dims in (2, 3):
        answer = ants.registration(
            blobs(dims, bent=False),
            blobs(dims, bent=True),
            type_of_transform="SyN",
            syn_metric="meansquares",
            reg_iterations=(6,),
            aff_iterations=(10,),
            aff_shrink_factors=(1,),
            aff_smoothing_sigmas=(0,),
            outprefix=str(tmp_path_factory.mktemp("ants") / "t"),
            random_seed=1,
        )
        warp, affine = (Path(path) for path in answer["fwdtransforms"])
        found[dims] = warp, affine
    return found


def test_warp_and_affine_are_those_of_ants(
    runs: dict[int, tuple[Path, Path]], physical: Physical, spatial_dims: int
) -> None:
    warp_file, affine_file = runs[spatial_dims]
    assert (warp_file.name, affine_file.name) == ("t1Warp.nii.gz", "t0GenericAffine.mat")
    warp, affine = (read_transform(path, physical.frame) for path in (warp_file, affine_file))
    assert isinstance(warp, DenseTransform) and isinstance(affine, AffineTransform)

    image = blobs(spatial_dims, bent=False)
    index = np.random.default_rng(1).uniform(1, np.array(SIZES[spatial_dims]) - 2, (200, spatial_dims))
    points = np.array(image.origin) + (index * image.spacing) @ np.array(image.direction).T
    table = pandas.DataFrame(points, columns=list("xyz")[:spatial_dims])
    for ours, files in ((warp, [warp_file]), (affine, [affine_file]), (warp.then(affine), [warp_file, affine_file])):
        expected = ants.apply_transforms_to_points(spatial_dims, table, [str(path) for path in files]).to_numpy()
        assert np.abs(expected - points).max() > 0.1
        moved = physical.points(ours.points(physical.points(points)))
        np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-4)  # ANTs keeps float32


@pytest.mark.parametrize("suffix", [".h5", ".tfm", ".nii.gz"])
def test_ants_applies_what_we_write(tmp_path: Path, physical: Physical, spatial_dims: int, suffix: str) -> None:
    image = blobs(spatial_dims, bent=False)
    steps = np.array(image.direction) * image.spacing  # (x, y(, z); tensor axes of ANTs)
    axes = physical.points(np.eye(spatial_dims)).T  # of the world, seen from ANTs
    affine = np.eye(spatial_dims + 1)
    affine[:-1, :-1] = (axes @ steps)[:, ::-1] if physical.frame == "index" else axes @ steps
    affine[:-1, -1] = physical.points(np.array(image.origin))
    grid = SamplingGrid(SIZES[spatial_dims][:: -1 if physical.frame == "index" else 1], affine, physical.frame)
    lattice = control_lattice(grid, control_spacing=7)
    shifts = np.random.default_rng(2).uniform(-2, 2, (1, spatial_dims, *lattice.shape))
    turn = AffineTransform(np.eye(spatial_dims, spatial_dims + 1) + 0.02 * np.arange(spatial_dims + 1))
    ours = BSplineTransform(torch.tensor(shifts), lattice).then(turn)
    write_transform(tmp_path / f"map{suffix}", ours, grid)

    voxels = np.indices(SIZES[spatial_dims]).reshape(spatial_dims, -1)[:, ::17].T
    points = np.array(image.origin) + voxels @ steps.T
    table = pandas.DataFrame(points, columns=list("xyz")[:spatial_dims])
    moved = ants.apply_transforms_to_points(spatial_dims, table, [str(tmp_path / f"map{suffix}")]).to_numpy()
    np.testing.assert_allclose(physical.points(moved), ours.points(physical.points(points)), rtol=0, atol=1e-4)
