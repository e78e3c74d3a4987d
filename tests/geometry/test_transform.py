"""How maps chain and invert; what holds for every family is in tests/contracts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_cellreg.geometry import (
    AffineTransform,
    CompositeTransform,
    DenseTransform,
    InverseTransform,
    SamplingGrid,
    compose,
    resample,
)

GRID = SamplingGrid((6, 8))
STRETCH = AffineTransform(np.array([[2.0, 0, 0], [0, 1, 0]]))
SHIFT = AffineTransform(np.array([[1.0, 0, 3], [0, 1, 0]]))


def dense(value: float = 0.25) -> DenseTransform:
    return DenseTransform(torch.full((1, 2, *GRID.shape), value, dtype=torch.float64), GRID)


def test_first_map_is_applied_first() -> None:
    x = np.array([[1.0, 1.0]])
    np.testing.assert_array_equal(compose([STRETCH, SHIFT]).points(x), [[5, 1]])
    np.testing.assert_array_equal(compose([SHIFT, STRETCH]).points(x), [[8, 1]])
    np.testing.assert_array_equal(compose([SHIFT, dense(), STRETCH]).points(x), [[8.5, 1.25]])


def test_chains_are_flat_and_neighbouring_affine_maps_are_one() -> None:
    chain = STRETCH.then(SHIFT).then(dense()).then(SHIFT.then(STRETCH).then(dense()))
    assert isinstance(chain, CompositeTransform)
    assert [type(t) for t in chain.transforms] == [AffineTransform, DenseTransform, AffineTransform, DenseTransform]
    assert isinstance(compose([STRETCH, SHIFT]), AffineTransform)
    single = dense()
    assert compose([single]) is single


def test_inverse_of_a_chain_inverts_in_reverse_order() -> None:
    chain = compose([STRETCH, dense(), SHIFT])
    inverse = chain.inverse()
    assert [type(t) for t in inverse.transforms] == [AffineTransform, InverseTransform, AffineTransform]
    np.testing.assert_allclose(inverse.points(np.array([[5.25, 1.25]])), [[1.0, 1.0]], rtol=0, atol=1e-4)


def test_inverse_of_an_inverse_is_the_map() -> None:
    transform = dense()
    assert transform.inverse().inverse() is transform


def test_tolerance_of_an_inverse_is_kept() -> None:
    bent = DenseTransform(0.3 * torch.sin(GRID.index()).movedim(-1, 0)[None], GRID)
    y = GRID.world().reshape(-1, 2)[9:30]
    with torch.no_grad():
        for tolerance in (1e-2, 1e-8):
            x = InverseTransform(bent, tolerance=tolerance).points(y)
            assert (bent.points(x) - y).norm(dim=-1).max() <= tolerance


@pytest.mark.parametrize(
    "transforms", [[], [STRETCH, AffineTransform(np.eye(4))], [dense(), AffineTransform(np.eye(4))]]
)
def test_maps_that_do_not_chain_are_refused(transforms: list) -> None:
    with pytest.raises(
        ValueError, match=r"^transforms have \[.*\] spatial dimensions; expected at least one map, all of"
    ):
        compose(transforms)


@pytest.mark.parametrize("shape", [(2,), (4, 3), (1, 1, 4, 2), (4, 1)])
def test_other_shapes_of_points_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^points has shape [\dx]+; expected \(N, 2\) or \(B, N, 2\)"):
        SHIFT.points(torch.zeros(shape))


def test_chain_reaches_an_image_through_one_interpolation() -> None:
    """Half a voxel there and back gives every voxel as it was; reading an image twice would blur it."""
    image = torch.rand(1, 1, *GRID.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    there = DenseTransform(torch.full((1, 2, *GRID.shape), 0.5, dtype=torch.float64), GRID)
    back = AffineTransform(np.array([[1, 0, -0.5], [0, 1, -0.5]]))
    torch.testing.assert_close(resample(image, there.then(back), GRID, GRID), image, rtol=0, atol=1e-12)
    twice = resample(resample(image, there, GRID, GRID), back, GRID, GRID)
    assert (twice - image).abs().mean() > 0.05


def test_determinant_is_the_ratio_of_volumes_along_a_chain() -> None:
    mirror = AffineTransform(np.array([[-1.0, 0, 0], [0, 1, 0]]))
    chain = STRETCH.then(dense()).then(mirror)
    determinant = chain.jacobian_determinant(SamplingGrid((3, 2)))
    torch.testing.assert_close(determinant, torch.full((1, 3, 2), -2.0, dtype=torch.float64), rtol=0, atol=1e-12)


def test_grids_are_mapped_where_the_map_lies_unless_told() -> None:
    """PyTorch's meta device stands for any other than the CPU: it has shapes and no values."""
    far = AffineTransform(torch.eye(2, 3, device="meta"))
    field = DenseTransform(torch.zeros(1, 2, *GRID.shape, device="meta"), GRID)
    mixed = CompositeTransform([SHIFT, field, dense()])
    for transform in (far, field, mixed, InverseTransform(far), SHIFT.then(field).inverse()):
        assert transform.device.type == "meta"
    for transform in (far, field):
        assert transform.displacement(GRID).device.type == "meta"
        assert transform.jacobian(GRID).device.type == "meta"
    for transform in (SHIFT, dense().inverse(), CompositeTransform([SHIFT, dense()])):
        assert transform.device.type == "cpu"
    assert SHIFT.displacement(GRID).device.type == "cpu"
    assert SHIFT.displacement(GRID, device="meta").device.type == "meta"
    assert SHIFT.jacobian_determinant(GRID, device="meta").device.type == "meta"
    assert SHIFT.points(torch.zeros(3, 2, device="meta")).device.type == "meta"


def test_points_that_are_no_array_are_refused() -> None:
    with pytest.raises(TypeError, match="points is a list, expected an array or a tensor; use numpy.asarray"):
        AffineTransform(np.eye(3)).points([[1.0, 2.0]])
