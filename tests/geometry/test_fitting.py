"""Least-squares maps of the affine group against SciPy, scikit-image and the definition of a least-squares fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import lstsq
from scipy.spatial.transform import Rotation
from skimage.transform import estimate_transform
from torch import Tensor

from monai_cellreg.geometry import (
    AffineTransform,
    CompositeTransform,
    DenseTransform,
    SamplingGrid,
    corresponding_points,
    fit_affine,
)
from monai_cellreg.geometry.fitting import nearest_rotation

KINDS = ("translation", "rigid", "similarity", "affine")
FEWEST = {"translation": (1, 1), "rigid": (2, 3), "similarity": (2, 3), "affine": (3, 4)}  # pairs, in 2D and 3D


def pairs(dims: int, *, count: int = 12, noise: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scattered points, longer along one axis and far from the origin, and where a similarity takes them."""
    rng = np.random.default_rng(seed)
    fixed = rng.uniform(size=(count, dims)) * [40.0, 10.0, 25.0][:dims] + [100.0, -30.0, 7.0][:dims]
    vector = [0.8] if dims == 2 else [0.8, -0.5, 1.4]
    moved = AffineTransform.similarity(vector, 1.3, shift=[-5.0, 60.0, 2.0][:dims]).points(fixed)
    return fixed, np.asarray(moved) + noise * rng.normal(size=fixed.shape)


def matrix_of(transform: AffineTransform) -> np.ndarray:
    return transform.matrix.detach().numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_finds_the_map_that_the_points_were_made_with(spatial_dims: int, kind: str) -> None:
    fixed, _ = pairs(spatial_dims, count=FEWEST[kind][spatial_dims - 2])
    vector, shift = ([2.5] if spatial_dims == 2 else [0.8, -0.5, 2.4]), [-5.0, 60.0, 2.0][:spatial_dims]
    truth = {
        "translation": AffineTransform.translation(shift),
        "rigid": AffineTransform.rigid(vector, shift=shift),
        "similarity": AffineTransform.similarity(vector, 0.4, shift=shift),
        "affine": AffineTransform(np.column_stack([-np.eye(spatial_dims) + 0.3, shift])),
    }[kind]
    found = fit_affine(fixed, truth.points(fixed), kind=kind)
    np.testing.assert_allclose(matrix_of(found), truth.matrix, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("kind", "name"), [("rigid", "euclidean"), ("similarity", "similarity")])
def test_agrees_with_scikit_image(spatial_dims: int, kind: str, name: str) -> None:
    """Its affine estimate is left out: it makes a total, not the ordinary sum of squares least."""
    fixed, moving = pairs(spatial_dims, noise=2.0)
    expected = estimate_transform(name, fixed, moving).params[:-1]
    np.testing.assert_allclose(matrix_of(fit_affine(fixed, moving, kind=kind))[0], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_scipy(spatial_dims: int, weighted: bool) -> None:
    fixed, moving = pairs(spatial_dims, noise=2.0)
    weights = np.random.default_rng(1).uniform(0.1, 5.0, size=len(fixed)) if weighted else np.ones(len(fixed))
    given = weights if weighted else None
    root = np.sqrt(weights)[:, None]
    full = np.column_stack([fixed, np.ones(len(fixed))])
    expected = lstsq(root * full, root * moving)[0].T
    np.testing.assert_allclose(matrix_of(fit_affine(fixed, moving, weights=given))[0], expected, rtol=0, atol=1e-8)
    mean, moved_mean = (np.average(x, axis=0, weights=weights) for x in (fixed, moving))
    flat = [np.pad(x, ((0, 0), (0, 3 - spatial_dims))) for x in (fixed - mean, moving - moved_mean)]
    turn = Rotation.align_vectors(flat[1], flat[0], weights=weights)[0].as_matrix()[:spatial_dims, :spatial_dims]
    rigid = np.column_stack([turn, moved_mean - turn @ mean])
    np.testing.assert_allclose(
        matrix_of(fit_affine(fixed, moving, kind="rigid", weights=given))[0], rigid, rtol=0, atol=1e-9
    )
    shift = matrix_of(fit_affine(fixed, moving, kind="translation", weights=given))[0, :, -1]
    np.testing.assert_allclose(shift, moved_mean - mean, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_no_map_of_the_kind_nearby_is_better(spatial_dims: int, kind: str) -> None:
    fixed, moving = pairs(spatial_dims, noise=3.0)
    weights = np.random.default_rng(1).uniform(0.1, 5.0, size=len(fixed))
    best = fit_affine(fixed, moving, kind=kind, weights=weights)

    def cost(transform: AffineTransform) -> float:
        return float(weights @ np.square(transform.points(fixed) - moving).sum(axis=1))

    turns = 1 if spatial_dims == 2 else 3
    steps = [(0, 0, s) for s in np.eye(spatial_dims)]
    if kind in ("rigid", "similarity"):
        steps += [(v, 0, 0) for v in np.eye(turns)]
    if kind == "similarity":
        steps += [(0, 1, 0)]
    for turn, growth, shift in steps:
        for size in (1e-3, -1e-3):
            change = AffineTransform.similarity(
                size * np.broadcast_to(turn, turns),
                np.exp(size * growth),
                shift=size * np.broadcast_to(shift, spatial_dims),
            )
            assert cost(best.then(change)) > cost(best)


@pytest.mark.parametrize("kind", ["rigid", "similarity"])
def test_never_mirrors(spatial_dims: int, kind: str) -> None:
    fixed, moving = pairs(spatial_dims, noise=1.0)
    mirrored = moving * ([1, -1, 1][:spatial_dims])
    linear = matrix_of(fit_affine(fixed, mirrored, kind=kind))[0, :, :-1]
    assert np.linalg.det(linear) > 1e-3
    expected = estimate_transform({"rigid": "euclidean"}.get(kind, kind), fixed, mirrored).params[:-1, :-1]
    np.testing.assert_allclose(linear, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_weights_of_zero_and_kinds_of_numbers(spatial_dims: int, kind: str) -> None:
    sets = [pairs(spatial_dims, noise=2.0, seed=s) for s in range(3)]
    fixed, moving = (torch.tensor(np.stack(x)) for x in zip(*sets, strict=True))
    weights = torch.ones(3, 12).double()
    weights[1, 4:7] = 0
    batch = fit_affine(fixed, moving, kind=kind, weights=weights)
    keep = [0, 1, 2, 3, 7, 8, 9, 10, 11]
    singles = [sets[0], (sets[1][0][keep], sets[1][1][keep]), sets[2]]
    for row, single in enumerate(singles):
        np.testing.assert_allclose(batch.matrix[row], matrix_of(fit_affine(*single, kind=kind))[0], rtol=0, atol=1e-10)
    shared = fit_affine(fixed[0], moving, kind=kind)
    np.testing.assert_allclose(shared.matrix[:1], matrix_of(fit_affine(*sets[0], kind=kind)), rtol=0, atol=1e-10)
    assert fit_affine(fixed[0], moving[0], kind=kind, weights=weights).matrix.shape[0] == 3
    whole = np.round(sets[0][0]).astype(np.int64)
    np.testing.assert_array_equal(
        fit_affine(whole, sets[0][1], kind=kind).matrix, fit_affine(whole.astype(float), sets[0][1], kind=kind).matrix
    )


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_points_and_weights(spatial_dims: int, kind: str) -> None:
    fixed, moving = (torch.tensor(x) / 10 for x in pairs(spatial_dims, count=6, noise=1.0))
    weights = torch.tensor([0.5, 1.0, 0.0, 2.0, 1.0, 1.5], dtype=torch.float64)

    def fitted(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        return fit_affine(x, y, kind=kind, weights=w.abs()).matrix

    weights[2] = 0.1
    given = tuple(t.requires_grad_() for t in (fixed, moving, weights))
    assert torch.autograd.gradcheck(fitted, given, atol=1e-6)
    weights.data[2] = 0  # left out, yet a little more of it would matter
    (gradient,) = torch.autograd.grad(fit_affine(fixed, moving, kind=kind, weights=weights).matrix.sum(), weights)
    step = torch.zeros_like(weights)
    step[2] = 1e-6
    with torch.no_grad():
        ahead, here = (fit_affine(fixed, moving, kind=kind, weights=w).matrix.sum() for w in (weights + step, weights))
    assert float(gradient[2]) == pytest.approx(float(ahead - here) / 1e-6, rel=1e-3, abs=1e-5)


def test_rotation_has_a_gradient_where_singular_values_coincide(spatial_dims: int) -> None:
    turn = AffineTransform.rigid(0.4 if spatial_dims == 2 else [0.4, 1.0, -0.3]).matrix[..., :-1]
    assert torch.autograd.gradcheck(lambda m: nearest_rotation(m)[0], (2.0 * turn).requires_grad_())
    flat = turn @ torch.diag(torch.tensor([2.0, 1.0, 0.0][-spatial_dims:]).double())  # one singular value is zero
    assert torch.autograd.gradcheck(lambda m: nearest_rotation(m)[0], flat.requires_grad_())
    mirror = turn @ torch.diag(torch.tensor([3.0, 3.0, -1.0][-spatial_dims:]).double())
    assert torch.autograd.gradcheck(lambda m: nearest_rotation(m)[0], mirror.requires_grad_())


def degenerate(dims: int) -> dict[str, np.ndarray]:
    fixed, _ = pairs(dims)
    line = fixed[:1] + np.arange(12.0)[:, None] * ([1.0, 2.0, -0.5][:dims])
    return {"one": fixed[:1], "coincident": np.repeat(fixed[:1], 12, axis=0), "line": line, "none": fixed[:0]}


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        *[(kind, bad) for kind in ("rigid", "similarity", "affine") for bad in ("one", "coincident", "none")],
        ("affine", "line"),
        ("translation", "none"),
    ],
)
def test_points_that_do_not_determine_the_map_are_refused(spatial_dims: int, kind: str, bad: str) -> None:
    fixed = degenerate(spatial_dims)[bad]
    for x, y in ((fixed, fixed + 3.0), (fixed.astype(np.float32), fixed)):
        with pytest.raises(
            ValueError,
            match=rf"a map of kind '{kind}' \(at most {len(x)} pairs .* number (\d.*|inf|nan)\); expected at",
        ):
            fit_affine(x, y, kind=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_without_weight_do_not_count(spatial_dims: int, kind: str) -> None:
    fixed, moving = pairs(spatial_dims)
    enough = FEWEST[kind][spatial_dims - 2]
    weights = np.zeros(len(fixed))
    weights[1 : enough + 1] = 2.0
    fit_affine(fixed, moving, kind=kind, weights=weights)
    weights[enough] = 0.0
    with pytest.raises(
        ValueError, match=rf"at most {enough - 1} pairs of weight above 0, .* expected at least {enough} p"
    ):
        fit_affine(fixed, moving, kind=kind, weights=weights)
    if kind != "translation":
        with pytest.raises(ValueError, match="condition number nan"):
            fit_affine(0 * fixed, 0 * fixed, kind=kind)


def test_a_rigid_map_needs_a_plane_in_3d_and_a_sense_of_rotation_in_2d() -> None:
    line = degenerate(3)["line"]
    for x in (line, line.astype(np.float32)):
        with pytest.raises(
            ValueError, match=r"map of kind 'rigid' .* condition number .*\); expected at least 3 pairs"
        ):
            fit_affine(x, x + 1, kind="rigid")
    square = np.array([[0.0, 0], [0, 1], [1, 1], [1, 0]])
    with pytest.raises(ValueError, match=r"map of kind 'similarity' .* condition number"):
        fit_affine(square, square * [1, -1], kind="similarity")  # mirrored: every rotation is as bad
    with pytest.raises(ValueError, match=r"map of kind 'affine' .* expected at least 4 pairs"):
        fit_affine(np.pad(square, ((0, 0), (0, 1))), np.pad(square, ((0, 0), (0, 1))))
    assert fit_affine(np.pad(square, ((0, 0), (0, 1))), np.pad(square, ((0, 0), (0, 1))), kind="rigid")


def test_one_bad_set_of_a_batch_is_enough() -> None:
    fixed, moving = pairs(2)
    for bad in degenerate(2)["line"], degenerate(2)["coincident"]:
        with pytest.raises(ValueError, match=r"do not determine a map of kind 'affine'"):
            fit_affine(np.stack([fixed, bad]), np.stack([moving, moving]))


def test_unsound_pairs_are_refused() -> None:
    fixed, moving = pairs(2)
    for x, y in ((fixed, moving[:5]), (fixed[:, :1], moving[:, :1]), (fixed[0], moving[0])):
        with pytest.raises(
            ValueError, match=r"^fixed_points has shape [\dx]+ and moving_points [\dx]+; expected the same"
        ):
            fit_affine(x, y)
    with pytest.raises(ValueError, match=r"^fixed_points has shape 2x12x2 and moving_points 3x12x2"):
        fit_affine(np.stack([fixed] * 2), np.stack([moving] * 3))
    for bad in (np.ones(5), -np.ones(12), np.ones((2, 3, 12))):
        with pytest.raises(
            ValueError, match=r"^weights has shape [\dx]+ and least value .*; expected \(12,\) or \(B, 12\)"
        ):
            fit_affine(fixed, moving, weights=bad)
    for name, x, y, w in (
        ("fixed_points", fixed * np.nan, moving, np.ones(12)),
        ("moving_points", fixed, moving * np.inf, np.ones(12)),
        ("weights", fixed, moving, np.ones(12) * np.nan),
    ):
        with pytest.raises(ValueError, match=rf"^{name} holds .* NaN or infinite"):
            fit_affine(x, y, weights=w)
    with pytest.raises(ValueError, match=r"^kind is 'homography', expected one of"):
        fit_affine(fixed, moving, kind="homography")


@pytest.mark.filterwarnings("error")
def test_inputs_are_not_modified() -> None:
    fixed, moving = pairs(2, noise=1.0)
    before = fixed.copy(), moving.copy()
    for x in (fixed, moving):
        x.setflags(write=False)
    fit_affine(fixed, moving, kind="similarity")
    np.testing.assert_array_equal((fixed, moving), before)


def test_fit_to_a_map_on_a_grid(fixed_grid: SamplingGrid, spatial_dims: int) -> None:
    truth = AffineTransform.rigid([0.2] * (1 if spatial_dims == 2 else 3), shift=[1.0] * spatial_dims)
    x, y = corresponding_points(truth, fixed_grid)
    assert x.shape == (len(y[0]), spatial_dims)
    torch.testing.assert_close(x, fixed_grid.world().flatten(0, -2), rtol=0, atol=0)
    np.testing.assert_allclose(fit_affine(x, y, kind="rigid").matrix, truth.matrix, rtol=0, atol=1e-10)
    displacement = truth.displacement(fixed_grid)
    dense = DenseTransform(torch.cat([displacement, 2 * displacement]), fixed_grid)
    both = fit_affine(*corresponding_points(dense, fixed_grid)).matrix
    np.testing.assert_allclose(both[0], truth.matrix[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        both[1] - both[0], truth.matrix[0] - torch.eye(*truth.matrix[0].shape), rtol=0, atol=1e-6
    )


def test_fit_to_a_map_where_a_mask_says(fixed_grid: SamplingGrid, spatial_dims: int) -> None:
    turn = AffineTransform.rigid([0.2] * (1 if spatial_dims == 2 else 3))
    displacement = turn.displacement(fixed_grid)
    displacement[:, :, 3:] = 0
    mask = torch.zeros(fixed_grid.shape)
    mask[:3] = 1
    dense = DenseTransform(displacement, fixed_grid)
    x, y = corresponding_points(dense, fixed_grid, mask=mask)
    assert len(x) == int(mask.sum()) == y.shape[1]
    np.testing.assert_allclose(fit_affine(x, y).matrix, turn.matrix, rtol=0, atol=1e-6)
    weighted = fit_affine(*corresponding_points(dense, fixed_grid), weights=mask.flatten())
    np.testing.assert_allclose(weighted.matrix, turn.matrix, rtol=0, atol=1e-6)
    everywhere = fit_affine(*corresponding_points(dense, fixed_grid)).matrix
    assert (everywhere - turn.matrix).abs().max() > 0.01
    with pytest.raises(ValueError, match=r"^mask has shape 2x2 but its grid is"):
        corresponding_points(dense, fixed_grid, mask=torch.ones(2, 2))


def test_fit_to_a_map_has_gradients(fixed_grid: SamplingGrid, spatial_dims: int) -> None:
    displacement = torch.zeros(1, spatial_dims, *fixed_grid.shape, dtype=torch.float64, requires_grad=True)
    chain = CompositeTransform(
        [DenseTransform(displacement, fixed_grid), AffineTransform.translation([0.0] * spatial_dims)]
    )
    shift = fit_affine(*corresponding_points(chain, fixed_grid), kind="translation").matrix[0, :, -1]
    (gradient,) = torch.autograd.grad(shift[0], displacement)
    assert gradient[0, 0] == pytest.approx(1 / np.prod(fixed_grid.shape), rel=1e-6)
    assert gradient[0, 1:].abs().max() == 0
