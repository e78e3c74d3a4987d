"""The map of a registration against the map it was made of."""

import numpy as np
import torch

from monai_cellreg.geometry import AffineTransform, DenseTransform, RegisteredTransform, SamplingGrid, read_transform


def bent(grid: SamplingGrid) -> DenseTransform:
    return DenseTransform(torch.sin(grid.world() / 3).movedim(-1, 0)[None] / 5, grid)


def test_it_maps_and_inverts_as_its_chain_does_and_inverts_between_the_grids_exchanged() -> None:
    fixed, moving = SamplingGrid((9, 14), np.diag([2.0, 0.5, 1.0])), SamplingGrid((7, 20))
    chain = AffineTransform.rigid(0.1, centre=[4.0, 2.0]).then(bent(fixed))
    found = RegisteredTransform(chain, fixed, moving)
    points = np.array([[3.0, 4.5], [10.0, 1.25]])
    np.testing.assert_array_equal(found.points(points), chain.points(points))
    back = found.inverse()
    np.testing.assert_allclose(back.points(found.points(points)), points, atol=1e-7)
    assert back.fixed_grid is moving
    assert back.moving_grid is fixed
    assert isinstance(back.inverse(), RegisteredTransform)


def test_saved_on_the_fixed_grid_it_is_read_as_the_same_map(tmp_path) -> None:
    fixed = SamplingGrid((9, 14), np.diag([2.0, 0.5, 1.0]))
    found = RegisteredTransform(bent(fixed), fixed, SamplingGrid((7, 20)))
    points = fixed.world().reshape(-1, 2).numpy()
    found.save(tmp_path / "found.h5")
    again = read_transform(tmp_path / "found.h5", "index")
    np.testing.assert_allclose(again.points(points), found.points(points), atol=1e-6)
    found.save(tmp_path / "found.nii.gz")
    np.testing.assert_allclose(
        read_transform(tmp_path / "found.nii.gz", "index").points(points), found.points(points), atol=1e-5
    )
