"""Stacks are registered slice by slice: the map of the volumes is that of the slices, each in its own plane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

import monai_cellreg as mc
from monai_cellreg.engines.instance import Registered
from monai_cellreg.geometry import AffineTransform, DenseTransform, Pair, SamplingGrid, SpatialTransform, resample
from monai_cellreg.methods import (
    AccountableMethod,
    BatchMethod,
    BatchSliceWise,
    Known,
    SliceWise,
    bundle_method,
    load_method,
)
from monai_cellreg.methods.slices import slice_axis

Turned = Callable[[int, float], np.ndarray]
COUNT, STEP = 5, 8.0  # slices, and mm from one to the next
FIXED, MOVING = (12, 17), (15, 11)  # pixels in the plane
FIXED_PLANE = np.array([[1.4, 0.2], [0.0, 0.9]])  # mm; slightly sheared
MOVING_PLANE = np.array([[0.8, -0.5], [0.6, 1.1]])


def grid_of(
    plane: np.ndarray,
    shape: tuple[int, ...],
    turn: np.ndarray,
    axis: int,
    *,
    step: float = STEP,
    off: float = 0.0,
    lean: float = 0.0,
) -> SamplingGrid:
    """Slices along an axis; their plane and their normal are turned against the world's axes.

    Each slice lies ``lean`` millimetres further along the plane than the one before.
    """
    columns = [*(turn[:, :2] @ plane).T]
    columns.insert(axis, turn @ [lean, 0.0, step])
    affine = np.eye(4)
    affine[:-1, :-1] = np.stack(columns, axis=1)
    start = off - step * (COUNT - 1) / 2  # the stack of either direction has the same middle
    affine[:-1, -1] = turn @ [3.0, -2.0, start] + [30.0, -12.0, 7.0]
    sizes = list(shape)
    sizes.insert(axis, COUNT)
    return SamplingGrid(tuple(sizes), affine, "RAS")


def numbered(grid: SamplingGrid, axis: int, *, backwards: bool = False) -> torch.Tensor:
    """An image (1, *shape) of noise, which tells the place of each slice by its hundreds."""
    place = grid.index()[..., axis]
    noise = 90 * torch.rand(grid.shape, generator=torch.Generator().manual_seed(axis))
    return (100 * (COUNT - 1 - place if backwards else place) + noise)[None].float()


def made_pair(turn: np.ndarray, axes: tuple[int, int] = (2, 2), *, step: float = STEP, off: float = 0.0) -> Pair:
    grids = (
        grid_of(FIXED_PLANE, FIXED, turn, axes[0]),
        grid_of(MOVING_PLANE, MOVING, turn, axes[1], step=step, off=off, lean=1.7),
    )
    images = (numbered(grids[0], axes[0]), numbered(grids[1], axes[1], backwards=step < 0))
    return Pair(*images, *grids)


def known_index_map(k: int) -> np.ndarray:
    """(2, 3) from the fixed to the moving index within slice k."""
    return np.array([[0.9013, 0.1, 0.7132 - 0.3137 * k], [-0.15, 0.6011, 1.2173 + 0.2359 * k]])


@dataclass
class KnownMaps:
    """A method of 2D pairs that knows which pixels of each slice correspond, and remembers what it was given."""

    seen: list[Pair] = field(default_factory=list)

    def register(self, pair: Pair) -> SpatialTransform:
        self.seen.append(pair)
        k, moving = (int(image.min() // 100) for image in (pair.fixed, pair.moving))
        assert k == moving  # places along the normal, not indices
        index_map = np.vstack([known_index_map(k), [0, 0, 1]])
        return AffineTransform(pair.moving_grid.affine @ index_map @ np.linalg.inv(pair.fixed_grid.affine))


def expected(pair: Pair, axes: tuple[int, int] = (2, 2), *, backwards: bool = False) -> np.ndarray:
    """Where the pixels of the fixed volume (N, 3) lie in the moving one, without planes of any kind."""
    moved = []
    for index in pair.fixed_grid.index().reshape(-1, 3).numpy():
        k = int(index[axes[0]])
        at = known_index_map(k) @ [*np.delete(index, axes[0]), 1.0]
        at = np.insert(at, axes[1], COUNT - 1 - k if backwards else k)
        moved.append(pair.moving_grid.affine @ [*at, 1.0])
    return np.array(moved)[:, :3]


def world(grid: SamplingGrid) -> np.ndarray:
    return grid.world().reshape(-1, 3).numpy()


@pytest.mark.parametrize(("axes", "step"), [((2, 2), STEP), ((0, 2), STEP), ((1, 0), -STEP), ((2, 1), -STEP)])
def test_map_of_the_volumes_is_that_of_the_slices(turned: Turned, axes: tuple[int, int], step: float) -> None:
    pair = made_pair(turned(3, 0.4), axes, step=step)
    found = SliceWise(KnownMaps()).run(pair)
    points = world(pair.fixed_grid)
    wanted = expected(pair, axes, backwards=step < 0)
    assert np.abs(wanted - points).max() > 5
    np.testing.assert_allclose(found.transform.points(points), wanted, rtol=0, atol=1e-5)
    assert isinstance(found.transform, DenseTransform) and found.transform.grid is pair.fixed_grid
    assert found.account == (
        "The volumes were registered slice by slice: 5 slices, 8 mm from one to the next, along axis "
        f"{axes[0]}, each in its own plane.",
    )


def test_nothing_moves_along_the_normal(turned: Turned) -> None:
    straight, turn = np.eye(3), turned(3, 0.4)
    moved = [SliceWise(KnownMaps()).register(made_pair(t, off=2.0)).field[0] for t in (straight, turn)]
    assert torch.equal(moved[0][2], torch.zeros_like(moved[0][2]))
    along = torch.einsum("dhwk,d->hwk", moved[1], torch.tensor(turn[:, 2]))
    assert float(along.abs().max()) < 1e-12 and float(moved[1].abs().max()) > 5


def test_planes_are_measured_in_millimetres(turned: Turned) -> None:
    """Distances within and between the images are those of the world, whatever the pixels."""
    pair, method = made_pair(turned(3, 0.4)), KnownMaps()
    SliceWise(method).register(pair)
    flat = method.seen[3]
    assert (flat.fixed_grid.unit, flat.moving_grid.unit) == ("mm", "mm")
    places = [(0, 0), (11, 0), (4, 16), (9, 7)]
    points = {
        2: [
            g.index_to_world(torch.tensor(p, dtype=torch.float64))
            for g in (flat.fixed_grid, flat.moving_grid)
            for p in places
        ],
        3: [g.index_to_world(torch.tensor([*p, 3.0])) for g in (pair.fixed_grid, pair.moving_grid) for p in places],
    }
    near, far = (torch.cdist(*[torch.stack(points[d]).double()] * 2) for d in (2, 3))
    np.testing.assert_allclose(near, far, rtol=0, atol=1e-4)


def test_label_is_warped_as_by_simpleitk_slice_by_slice(turned: Turned) -> None:
    pair = made_pair(turned(3, 0.4))
    label = torch.randint(0, 5, (1, *pair.moving_grid.shape), generator=torch.Generator().manual_seed(5))
    images = [grid.to_image(image) for grid, image in ((pair.fixed_grid, pair.fixed), (pair.moving_grid, pair.moving))]
    result = mc.register(*images, method=SliceWise(KnownMaps()))
    warped = resample(
        label[None].float(), result.transform, pair.fixed_grid, pair.moving_grid, mode="nearest", padding="zeros"
    )[0, 0]
    for k in range(COUNT):
        index_map = known_index_map(k)
        itk = sitk.AffineTransform(2)  # x is the column, and the transform goes from the fixed to the moving index
        itk.SetMatrix(index_map[::-1, 1::-1].ravel().tolist())
        itk.SetTranslation(index_map[::-1, 2].tolist())
        moving = sitk.GetImageFromArray(label[0, ..., k].numpy().astype(np.uint8))
        by_hand = sitk.Resample(moving, FIXED[::-1], itk, sitk.sitkNearestNeighbor, (0.0, 0.0), (1.0, 1.0))
        np.testing.assert_array_equal(warped[..., k], sitk.GetArrayFromImage(by_hand))
    assert warped.unique().tolist() == [0, 1, 2, 3, 4]


def test_stack_of_arrays_has_its_slices_first_and_in_pixels() -> None:
    affine = AffineTransform([[1.0, 0.0, 2.5], [0.0, 1.0, -1.0]])
    fixed = np.random.default_rng(0).uniform(size=(4, 14, 9))
    result = mc.register(fixed, fixed, method=SliceWise(Plain(affine)))
    np.testing.assert_allclose(result.transform.points(np.array([[1.0, 3, 4]])), [[1, 5.5, 3]], rtol=0, atol=1e-12)
    assert "4 slices, 1 px from one to the next, along axis 0" in result.account[0]


@pytest.mark.parametrize(
    ("spacing", "frame", "axis"),
    [
        ((1.5, 1.5, 8), "RAS", 2),
        ((8, 1.5, 1.2), "RAS", 0),
        ((1, 4, 2), "index", 1),
        ((1, 2, 1.5), "RAS", 2),  # not clearly
        ((1, 1, 1), "RAS", 2),
        ((1, 1, 1.4), "index", 0),
    ],
)
def test_axis_of_the_slices(spacing: Sequence[float], frame: str, axis: int) -> None:
    assert slice_axis(SamplingGrid((9, 8, 7), np.diag([*spacing, 1.0]), frame)) == axis


@dataclass
class Plain:
    """A method that answers one map."""

    transform: SpatialTransform

    def register(self, pair: Pair) -> SpatialTransform:
        return self.transform


@dataclass
class ByPlace:
    """A method that shifts slice k by k squared along the first axis of the plane, and says so."""

    seen: list[Pair] = field(default_factory=list)

    def run(self, pair: Pair) -> Registered:
        self.seen.append(pair)
        k = int(pair.fixed.max() // 100)
        return Registered(AffineTransform.translation([k**2, 0.0]), ("Shifted.", *["Far."] * (k > 2)))

    def register(self, pair: Pair) -> SpatialTransform:
        return self.run(pair).transform


def test_slices_with_nothing_to_align_move_as_their_neighbours() -> None:
    grid = SamplingGrid((6, 7, 7), np.diag([1.0, 1.2, 9.0, 1.0]), "RAS")
    image = numbered(grid, 2)
    fixed, moving, mask = image.clone(), image.clone(), torch.ones_like(image)
    fixed[..., 0], fixed[..., 3], moving[..., 6] = 4.0, 7.0, 0.0
    mask[..., 2] = 0
    pair = Pair(fixed, moving, grid, grid, moving_mask=mask)
    method = ByPlace()
    found = SliceWise(method).run(pair)
    assert len(method.seen) == 3
    shifts = found.transform.field[0, 0, 2, 5]
    np.testing.assert_allclose(shifts, [1, 1, 6, 11, 16, 25, 25], rtol=0, atol=1e-12)
    assert found.account[1:] == (
        "Slices 0, 3: the fixed image is constant where it counts; the map is that of the neighbouring slices.",
        "Slices 2, 6: the moving image is constant where it counts; the map is that of the neighbouring slices.",
        "Shifted.",
        "Slices 4, 5: Far.",
    )
    with pytest.raises(ValueError, match="^fixed and moving have 7 slices, in each of which one of the two is const"):
        SliceWise(method).run(replace(pair, fixed_mask=torch.zeros_like(image)))


def test_labels_and_masks_are_sliced(turned: Turned) -> None:
    pair, method = made_pair(turned(3, 0.4), (2, 0), step=-STEP), KnownMaps()
    parts = {
        f"{side}_{part}": (getattr(pair, side) % factor > 10).int()
        for side in ("fixed", "moving")
        for part, factor in (("label", 30), ("mask", 50))
    }
    SliceWise(method).register(replace(pair, **parts))
    flat = method.seen[1]
    for name, part in parts.items():
        assert torch.equal(getattr(flat, name), part[..., 1] if "fixed" in name else part[:, COUNT - 2])
    SliceWise(method, is_guided=False).register(replace(pair, **parts))
    flat = method.seen[COUNT + 1]
    assert (flat.fixed_mask, flat.moving_mask) == (None, None) and torch.equal(
        flat.fixed_label, parts["fixed_label"][..., 1]
    )


def test_landmarks_of_stacks_are_refused(turned: Turned) -> None:
    pair = made_pair(turned(3, 0.4))
    points = torch.zeros(6, 3, dtype=torch.float64)
    guided = replace(pair, fixed_landmarks=points, moving_landmarks=points)
    with pytest.raises(ValueError, match=r"^landmarks are given \(6\) .* Leave them out, or choose the method 'auto'"):
        SliceWise(KnownMaps()).run(guided)
    assert SliceWise(KnownMaps(), is_guided=False).run(guided).account


def test_landmarks_and_masks_of_2d_pairs_reach_the_method() -> None:
    image, points = np.random.default_rng(0).uniform(size=(9, 8)), [[1.0, 2], [5, 3], [2, 6]]
    method = ByPlace()
    known = Known(fixed_mask=np.ones((9, 8), np.uint8), fixed_landmarks=points, moving_landmarks=points)
    mc.register(image, image, method=SliceWise(method), known=known)
    assert method.seen[0].fixed_mask is not None and len(method.seen[0].fixed_landmarks) == 3


def test_2d_pairs_go_through_as_they_are() -> None:
    image = numbered(SamplingGrid((1, 9, 8)), 0)[0]
    pair, method = Pair.of(image, image.roll(1, 2)), ByPlace()
    found = SliceWise(method).run(pair)
    assert method.seen[0] is pair and found.account == ("Shifted.",)
    known = AffineTransform.translation([1.0, 2.0])
    assert SliceWise(Plain(known)).register(pair) is known


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"off": 0.51 * STEP}, r"their slices lie up to 0.51 slices \(4.08 mm\) apart; .* Resample .* or choose"),
        ({"off": -0.6 * STEP, "step": -STEP}, r"up to 0.6\d* slices"),
        ({"step": 1.3 * STEP}, r"their slices lie up to 0.6 slices"),
    ],
)
def test_slices_at_other_places_are_refused(turned: Turned, change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^fixed and moving are no stacks of the same slices: .*{message}"):
        SliceWise(KnownMaps()).run(made_pair(turned(3, 0.4), **change))


def test_tilted_and_shorter_stacks_are_refused(turned: Turned) -> None:
    turn = turned(3, 0.4)
    pair = made_pair(turn)
    for angle_deg, is_fine in ((4, True), (40, False)):  # about the first axis of the plane
        cos, sin = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
        tilt = turn @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ turn.T
        affine = pair.moving_grid.affine.copy()
        affine[:-1] = tilt @ (affine[:-1] - [[0, 0, 0, c] for c in (30, -12, 7)]) + [[0, 0, 0, c] for c in (30, -12, 7)]
        tilted = replace(pair, moving_grid=replace(pair.moving_grid, affine=affine))
        if is_fine:
            assert "slices apart was disregarded." in SliceWise(KnownMaps()).run(tilted).account[0]
        else:
            with pytest.raises(ValueError, match="their slices lie up to"):
                SliceWise(KnownMaps()).run(tilted)
    less = replace(pair, moving=pair.moving[..., 1:], moving_grid=replace(pair.moving_grid, shape=(*MOVING, COUNT - 1)))
    with pytest.raises(ValueError, match=r": fixed has 5 slices \(axis 2\) and moving 4 \(axis 2\); expected as many"):
        SliceWise(KnownMaps()).run(less)


def test_a_wide_tilted_image_is_refused_whichever_it_is(turned: Turned) -> None:
    """A small image hardly shows that a wide one is tilted against it."""
    grids = [SamplingGrid((n, 3, 4), np.diag([1.0, 1.0, 6.0, 1.0]), "RAS") for n in (80, 5)]
    tilted = grids[1].affine.copy()
    tilted[:3, :3] = turned(3, 0.0) @ [[1, 0, 0], [0, 1, 0], [0.1, 0, 1]] @ tilted[:3, :3]
    grids[1] = replace(grids[1], affine=tilted)
    images = [numbered(grid, 2) for grid in grids]
    for order in (slice(None), slice(None, None, -1)):
        with pytest.raises(ValueError, match="their slices lie up to 1.3 slices"):
            SliceWise(KnownMaps()).run(Pair(*images[order], *grids[order]))


def test_up_to_half_a_slice_is_disregarded_and_told(turned: Turned) -> None:
    pair = made_pair(turned(3, 0.4), off=0.4 * STEP)
    found = SliceWise(KnownMaps()).run(pair)
    assert found.account[0].endswith("; that those of the two images lie up to 0.4 slices apart was disregarded.")
    normal = turned(3, 0.4)[:, 2]
    np.testing.assert_allclose(
        found.transform.points(world(pair.fixed_grid)), expected(pair) - 0.4 * STEP * normal, rtol=0, atol=1e-5
    )


@dataclass
class Batched(ByPlace):
    """The same, that registers all slices at once."""

    batches: list[int] = field(default_factory=list)

    def register_batch(self, pairs: Sequence[Pair]) -> list[SpatialTransform]:
        self.batches.append(len(pairs))
        return [ByPlace().register(pair) for pair in pairs]


class BatchedOnly:
    """A batch method without an account."""

    def __init__(self) -> None:
        self.inner = Batched()

    def register(self, pair: Pair) -> SpatialTransform:
        raise AssertionError("one by one")

    def register_batch(self, pairs: Sequence[Pair]) -> list[SpatialTransform]:
        return self.inner.register_batch(pairs)


def test_slices_are_registered_at_once_where_the_method_can() -> None:
    grid = SamplingGrid((6, 7, 4), np.diag([1.0, 1.2, 9.0, 1.0]), "RAS")
    stack = Pair(numbered(grid, 2), numbered(grid, 2), grid, grid)
    method = BatchedOnly()
    wise = BatchSliceWise(method)
    np.testing.assert_allclose(wise.register(stack).field[0, 0, 1, 1], [0, 1, 4, 9], rtol=0, atol=1e-12)
    flat = Pair.of(stack.fixed[..., 1], stack.moving[..., 1])
    wise.register_batch([flat, flat, flat])
    wise.register_batch([stack, stack])
    assert method.inner.batches == [4, 3, 4, 4]
    assert isinstance(wise, BatchMethod) and isinstance(wise, AccountableMethod)
    assert not isinstance(SliceWise(method), BatchMethod)
    accountable = Batched()  # of which the sentences would be lost
    assert "Shifted." in SliceWise(accountable).run(stack).account and accountable.batches == []


def test_named_network_takes_stacks_as_its_slices(turned: Turned) -> None:
    """The shipped network of hearts, against itself on each slice with grids made here."""
    fixed_grid = grid_of(np.diag([1.5, 1.3]), (40, 36), turned(3, 0.4), 2)
    rows = fixed_grid.index()
    fixed = torch.sin(rows[..., 0] / 3 + rows[..., 2]) * torch.cos(rows[..., 1] / 4)
    pair = Pair(fixed[None].float(), fixed.roll((1, 2), (0, 1))[None].float(), fixed_grid, fixed_grid)
    found, alone = load_method("dirnet-cardiac").run(pair), bundle_method("dirnet", overlays=["train_cardiac.json"])
    flat = SamplingGrid((40, 36), np.diag([1.5, 1.3, 1.0]), unit="mm")
    assert len(found.account) == 1 and "slice by slice" in found.account[0]
    for k in range(COUNT):
        alone_k = alone.register(Pair(pair.fixed[..., k], pair.moving[..., k], flat, flat)).displacement(flat)[0]
        in_plane = torch.einsum("dhw,dp->phw", found.transform.field[0, ..., k], torch.tensor(turned(3, 0.4)[:, :2]))
        assert float(alone_k.abs().max()) > 0.3
        np.testing.assert_allclose(in_plane, alone_k, rtol=0, atol=1e-3)
