"""Outlines bend with a map: exact where edges stay straight, else the border of the label that is warped by it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.draw import polygon2mask

from monai_cellreg.geometry import (
    AffineTransform,
    DenseTransform,
    SamplingGrid,
    ThinPlateSplineTransform,
    map_polygon,
    resample,
)

SQUARE = np.array([[0.0, 0.0], [0.0, 6.0], [3.0, 6.0], [3.0, 0.0]])


def on_an_edge(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Whether points lie between two others."""
    along = (points - start) @ (end - start) / ((end - start) @ (end - start))
    away = np.linalg.norm(points - start - along[:, None] * (end - start), axis=-1)
    return (away < 1e-9) & (along > -1e-9) & (along < 1 + 1e-9)


@pytest.mark.parametrize(("closed", "edges"), [(True, [6, 3, 6, 3]), (False, [6, 3, 6])])
def test_edges_are_divided_evenly_and_keep_their_vertices(closed: bool, edges: list[int]) -> None:
    matrix = np.array([[0.6, -0.8, 10.0], [0.8, 0.6, -4.0]])
    outline = map_polygon(AffineTransform(matrix), SQUARE, closed=closed, max_edge=1.0)
    assert outline.shape == (sum(edges) + (not closed), 2)
    corners = SQUARE @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(outline[np.cumsum([0, *edges[:-1]])], corners[: len(edges)], rtol=0, atol=1e-12)
    around = np.vstack([outline, outline[:1]]) if closed else outline
    np.testing.assert_allclose(np.linalg.norm(np.diff(around, axis=0), axis=1), 1.0, rtol=0, atol=1e-12)
    if not closed:
        np.testing.assert_allclose(outline[-1], corners[-1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("max_edge", [0.7, 2.9, 3.0, 3.1, 100.0])
def test_no_edge_is_longer_than_asked(max_edge: float) -> None:
    outline = map_polygon(AffineTransform(np.eye(3)), SQUARE, max_edge=max_edge)
    edges = np.linalg.norm(outline - np.roll(outline, -1, axis=0), axis=1)
    assert edges.max() <= max_edge + 1e-9
    assert len(outline) == sum(max(1, int(np.ceil(length / max_edge))) for length in (6, 3, 6, 3))
    sides = zip(SQUARE, np.roll(SQUARE, -1, axis=0), strict=True)
    assert np.any([on_an_edge(outline, start, end) for start, end in sides], axis=0).all()


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e4])
def test_edges_are_a_hundredth_of_the_outline_when_not_told(unit: float) -> None:
    outline = map_polygon(AffineTransform(np.eye(3)), unit * SQUARE)
    edges = np.linalg.norm(outline - np.roll(outline, -1, axis=0), axis=1)
    assert 0.009 < edges.min() / (unit * np.hypot(3, 6)) <= edges.max() / (unit * np.hypot(3, 6)) <= 0.01 + 1e-9
    assert map_polygon(AffineTransform(np.eye(3)), np.ones((2, 2))).shape == (2, 2)


def test_curve_in_space_follows_the_map(fixed_grid: SamplingGrid) -> None:
    dims = fixed_grid.spatial_dims
    control = fixed_grid.resized((3,) * dims).world().flatten(0, -2)
    drawn = torch.rand(2, *control.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    transform = ThinPlateSplineTransform(control, control + drawn)
    line = control[[0, -1]].requires_grad_()
    mapped = map_polygon(transform, line, closed=False, max_edge=0.5)
    share = torch.linspace(0, 1, mapped.shape[1], dtype=torch.float64)[:, None]
    expected = transform.points(torch.lerp(control[0], control[-1], share))
    assert mapped.shape[0] == 2 and mapped.shape[1] > 30
    torch.testing.assert_close(mapped, expected, rtol=0, atol=1e-9)
    assert (mapped - torch.lerp(mapped[:, :1], mapped[:, -1:], share)).abs().max() > 0.1  # not straight any more
    assert torch.autograd.grad(mapped.sum(), line)[0].abs().min() > 0


def test_mapped_outline_of_a_label_is_the_outline_of_the_warped_label() -> None:
    moving_grid = SamplingGrid((90, 120), np.array([[0.5, 0, -3], [0, 0.4, 8], [0, 0, 1]]))
    fixed_grid = SamplingGrid((200, 230), np.array([[0.25, 0, -4], [0, 0.25, 5], [0, 0, 1]]))
    outline = moving_grid.index_to_world(torch.tensor([[20.0, 30], [25, 95], [70, 80], [60, 20]])).numpy()
    control = moving_grid.resized((3, 3)).world().flatten(0, -2)
    shifts = 8 * torch.rand(9, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64) - 4
    spline = ThinPlateSplineTransform(control, control + shifts)
    dense = DenseTransform(spline.displacement(fixed_grid), fixed_grid)
    fine = SamplingGrid((900, 1200), moving_grid.affine @ np.diag([0.1, 0.1, 1]))
    fine_label = torch.from_numpy(polygon2mask(fine.shape, fine.world_to_index(torch.tensor(outline)).numpy()))
    for transform in (spline, dense):
        warped = resample(fine_label[None, None].byte(), transform, fixed_grid, fine, mode="nearest", padding="zeros")
        mapped = map_polygon(transform.inverse(), outline, max_edge=0.5)
        rings = {
            "bent": mapped,
            "corners": transform.inverse().points(outline),
            "forward": map_polygon(spline, outline),
        }
        overlap = {}
        for name, ring in rings.items():
            mask = polygon2mask(fixed_grid.shape, fixed_grid.world_to_index(torch.tensor(ring)).numpy())
            both = (mask & warped[0, 0].bool().numpy()).sum()
            overlap[name] = both / (mask | warped[0, 0].bool().numpy()).sum()
        assert overlap["bent"] > 0.99
        assert max(overlap["corners"], overlap["forward"]) < 0.96  # straight edges, or the wrong direction, do not do


def test_what_is_no_outline_is_refused() -> None:
    identity = AffineTransform(np.eye(3))
    for shape in ((1, 2), (4, 3), (2, 4, 2), (4,)):
        with pytest.raises(ValueError, match=r"^vertices has shape [\dx]+; expected \(N, 2\), N of 2 or more"):
            map_polygon(identity, np.zeros(shape))
    with pytest.raises(ValueError, match="^vertices holds 1 of 8 values that are NaN"):
        map_polygon(identity, np.where(np.arange(8).reshape(4, 2) == 3, np.nan, SQUARE))
    for bad in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="^max_edge is .* expected finite numbers above 0"):
            map_polygon(identity, SQUARE, max_edge=bad)
