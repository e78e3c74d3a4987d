"""Registration of any pair: what is found does not depend on units, frames, contrast or the order of axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from monai_cellreg.engines.instance import (
    AutoRegistration,
    AutoSettings,
    BSplineDeformation,
    DeformableSettings,
    DenseDeformation,
    LinearSettings,
    Registered,
    VelocityDeformation,
)
from monai_cellreg.engines.instance.smoothing import smooth
from monai_cellreg.geometry import (
    AffineTransform,
    BSplineTransform,
    Pair,
    SamplingGrid,
    SpatialTransform,
    control_lattice,
    fit_affine,
)

Turned = Callable[[int, float], np.ndarray]
LINEAR = LinearSettings(sizes=(48,), iterations=(50,))
QUICK = AutoSettings(LINEAR, DeformableSettings(iterations=20))


def run(pair: Pair, settings: AutoSettings = QUICK) -> Registered:
    return AutoRegistration(settings).run(pair)


def identity(dims: int) -> AffineTransform:
    return AffineTransform(np.eye(dims + 1))


def bent(world: Any, turned: Turned) -> SpatialTransform:
    """Bending, then an affine map."""
    lattice = control_lattice(world.fixed_grid, control_spacing=14)
    bend = torch.tensor(np.random.default_rng(3).uniform(-2.5, 2.5, (1, world.dims, *lattice.shape)))
    linear = turned(world.dims, 0.1) @ np.diag([1.05, 0.97, 1.02][: world.dims])
    return BSplineTransform(bend, lattice).then(world.affine(linear, [2.0, -1.5, 1.0][: world.dims]))


@pytest.fixture
def pair(world: Any, turned: Turned) -> Pair:
    return world.pair(bent(world, turned))


@pytest.fixture
def flat_pair(flat: Any, turned: Turned) -> Pair:
    return flat.pair(bent(flat, turned))


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(seed))


def moved(pair: Pair, of_fixed: np.ndarray, of_moving: np.ndarray) -> Pair:
    """The pair after an affine map (D+1, D+1) of each world."""
    grids = (
        SamplingGrid(grid.shape, matrix @ grid.affine)
        for grid, matrix in ((pair.fixed_grid, of_fixed), (pair.moving_grid, of_moving))
    )
    return Pair(pair.fixed, pair.moving, *grids)


def brought_back(found: SpatialTransform, of_fixed: np.ndarray, of_moving: np.ndarray) -> SpatialTransform:
    """The map between the worlds as they were before."""
    return AffineTransform(of_fixed).then(found).then(AffineTransform(np.linalg.inv(of_moving)))


def test_known_map_is_found_and_input_is_left_alone(world: Any, pair: Pair) -> None:
    before = [pair.fixed.clone(), pair.moving.clone()]
    found = run(pair, AutoSettings())
    errors = [world.error(each, pair.truth) for each in (identity(world.dims), found.transform)]
    assert float(errors[0].mean()) > 2.5
    assert float(errors[1].mean()) < 0.4 and float(errors[1].quantile(0.95)) < 1.2, errors[1].mean()
    assert torch.equal(pair.fixed, before[0]) and torch.equal(pair.moving, before[1])
    assert found.account[0].startswith("Affine from the images' own coordinates: correlation")
    assert "local correlation" in found.account[-1] and "0.00% of the voxels folded" in found.account[-1]


def test_affine_alone(world: Any, turned: Turned) -> None:
    truth = world.affine(turned(world.dims, 0.1) @ np.diag([1.05, 0.97, 1.02][: world.dims]), [2.0] * world.dims)
    found = run(world.pair(truth), AutoSettings(deformable=None))
    assert isinstance(found.transform, AffineTransform)
    assert float(world.error(found.transform, truth).max()) < 0.35


def test_same_input_gives_the_same_bits(flat: Any, flat_pair: Pair) -> None:
    method = AutoRegistration(QUICK)
    points = flat.fixed_grid.world().flatten(0, 1)
    assert torch.equal(*(method.register(flat_pair).points(points) for _ in range(2)))


@pytest.mark.parametrize("scale", [1e-3, 1000.0])
def test_unit_does_not_matter(flat: Any, flat_pair: Pair, scale: float) -> None:
    unit = np.diag([scale, scale, 1.0])
    found = run(moved(flat_pair, unit, unit)).transform
    apart = flat.error(brought_back(found, unit, unit), run(flat_pair).transform)
    assert float(apart.mean()) < 0.1 and float(apart.max()) < 0.7, (apart.mean(), apart.max())


def test_frame_does_not_matter(flat: Any, flat_pair: Pair, turned: Turned) -> None:
    frame = np.eye(3)
    frame[:2, :2], frame[:2, 2] = turned(2, 0.9), [500.0, -300.0]
    found = run(moved(flat_pair, frame, frame)).transform
    apart = flat.error(brought_back(found, frame, frame), run(flat_pair).transform)
    assert float(apart.mean()) < 0.1 and float(apart.max()) < 0.7, (apart.mean(), apart.max())


def test_worlds_that_do_not_meet_are_brought_together(flat: Any, flat_pair: Pair) -> None:
    far = np.eye(3)
    far[:2, 2] = [5000.0, -3000.0]
    found = run(moved(flat_pair, np.eye(3), far))
    back = brought_back(found.transform, np.eye(3), far)
    assert float(flat.error(back, flat_pair.truth).mean()) < 0.4
    assert any("searched start" in sentence for sentence in found.account)


@pytest.mark.parametrize("degrees", [90, 180])
def test_large_turns_are_found(flat: Any, turned: Turned, degrees: float) -> None:
    truth = flat.affine(turned(2, np.deg2rad(degrees)), [2.0, -1.5])
    found = run(flat.pair(truth))
    assert float(flat.error(found.transform, truth).mean()) < 0.4
    assert any("searched start, turned by" in sentence for sentence in found.account)


def test_order_of_axes_does_not_matter(flat: Any, flat_pair: Pair) -> None:
    """Stored in another order, the images lie where they did."""
    swap = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])
    fixed_grid, moving_grid = (
        SamplingGrid(grid.shape[::-1], grid.affine @ swap) for grid in (flat_pair.fixed_grid, flat_pair.moving_grid)
    )
    backwards = np.array([[-1.0, 0, moving_grid.shape[0] - 1], [0, 1, 0], [0, 0, 1]])
    there = Pair(
        flat_pair.fixed.transpose(1, 2),
        flat_pair.moving.transpose(1, 2).flip(1),
        fixed_grid,
        SamplingGrid(moving_grid.shape, moving_grid.affine @ backwards),
    )
    apart = flat.error(run(there).transform, run(flat_pair).transform)
    assert float(apart.mean()) < 0.1 and float(apart.max()) < 0.7, (apart.mean(), apart.max())


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda x: x * 5000 - 300, 0.3),
        (lambda x: x.max() - x, 0.3),
        (lambda x: x.clamp_min(0) ** 0.7, 0.7),
        (lambda x: x.clamp_min(0) ** 1.4, 0.7),
        (lambda x: torch.cat([x, 0.6 * x, 0.3 * x]), 0.3),
    ],
    ids=["scaled", "inverted", "brighter", "darker", "colour"],
)
def test_contrast_hardly_matters(flat: Any, flat_pair: Pair, change: Any, left: float) -> None:
    found = run(replace(flat_pair, moving=change(flat_pair.moving)))
    assert float(flat.error(found.transform, flat_pair.truth).mean()) < left


def test_colour_on_both_sides(flat: Any, flat_pair: Pair) -> None:
    colour = [torch.cat([x, 0.6 * x, 0.3 * x]) for x in (flat_pair.fixed, flat_pair.moving)]
    found = run(replace(flat_pair, fixed=colour[0], moving=colour[1]))
    assert float(flat.error(found.transform, flat_pair.truth).mean()) < 0.3
    assert found.account[:2] == tuple(
        f"The {side} image is compared by its brightness." for side in ("fixed", "moving")
    )


def test_start_is_refined_in_place_of_the_affine_stage(flat: Any, flat_pair: Pair, turned: Turned) -> None:
    start = flat.affine(turned(2, 0.1), [2.0, -1.5])
    found = AutoRegistration().run(flat_pair, start=start)
    errors = [float(flat.error(each, flat_pair.truth).mean()) for each in (start, found.transform)]
    assert errors[1] < 0.3 < 1 < errors[0]
    assert len(found.account) == 1 and found.account[0].startswith("Deformable")
    kept = AutoRegistration().run(flat_pair, start=flat_pair.truth).transform
    assert float(flat.error(kept, flat_pair.truth).mean()) < 0.15


def test_landmarks_lead(flat: Any, flat_pair: Pair, turned: Turned) -> None:
    """Where the images alone go astray, points show the way."""
    points = flat.fixed_grid.world()[8:48:13, 8:60:13].flatten(0, 1)
    truth = flat.affine(turned(2, np.deg2rad(40)), [3.0, -2.0])
    guided = replace(flat.pair(truth), fixed_landmarks=points, moving_landmarks=truth.points(points))
    found = run(guided)
    assert float((found.transform.points(points) - truth.points(points)).norm(dim=1).max()) < 0.5
    assert found.account[0] == f"The {len(points)} landmarks gave the start, a map of kind affine."


def with_landmarks(flat: Any, pair: Pair, error: float = 0.0) -> Pair:
    """The pair with nine landmarks that are right but for an error of their places."""
    points = flat.fixed_grid.world()[8:48:17, 8:60:22].flatten(0, 1)
    errors = error * torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
    return replace(pair, fixed_landmarks=points, moving_landmarks=pair.truth.points(points) + errors)


def missed(found: SpatialTransform, pair: Pair) -> float:
    """Root mean square distance of the moving landmarks from where the fixed ones end."""
    return float((found.points(pair.fixed_landmarks) - pair.moving_landmarks).square().sum(1).mean().sqrt())


BRIGHTNESS_LOST = [lambda x: (x - 0.4 * x.max()) ** 2, lambda x: torch.cos(9 * x / x.max())]


@pytest.mark.parametrize("settings", [QUICK, AutoSettings(LINEAR, None)], ids=["deformable", "affine"])
@pytest.mark.parametrize("contrast", BRIGHTNESS_LOST, ids=["square", "wave"])
def test_landmarks_lead_where_brightness_means_nothing(
    flat: Any, flat_pair: Pair, contrast: Any, settings: AutoSettings
) -> None:
    """Correlation leads away from the landmarks there; mutual information does not."""
    guided = with_landmarks(flat, replace(flat_pair, moving=contrast(flat_pair.moving)))
    fit = fit_affine(guided.fixed_landmarks, guided.moving_landmarks)
    found = run(guided, settings)
    errors = [float(flat.error(each, flat_pair.truth).mean()) for each in (fit, found.transform)]
    assert errors[1] < errors[0] < 1, errors
    assert any("mutual information rises" in sentence for sentence in found.account)


def test_landmarks_are_kept_where_the_images_lead_astray(flat: Any, flat_pair: Pair) -> None:
    """With noise for an image, the landmarks' own map stays and the account says so."""
    guided = with_landmarks(flat, replace(flat_pair, moving=noise(*flat_pair.moving.shape[1:])))
    fit = fit_affine(guided.fixed_landmarks, guided.moving_landmarks)
    found = run(guided, AutoSettings(LINEAR, None))
    assert missed(found.transform, guided) == pytest.approx(missed(fit, guided), abs=1e-9)
    (said,) = (sentence for sentence in found.account if "away from the landmarks" in sentence)
    assert said.startswith("Correlation led") and said.endswith("their own map, 0.66 px off, is kept.")
    assert missed(run(guided).transform, guided) <= missed(fit, guided)


def test_mutual_information_starts_from_the_landmarks(flat: Any, turned: Turned) -> None:
    """At a turn that it does not find by itself."""
    pair = flat.pair(flat.affine(turned(2, np.deg2rad(70)), [2.0, -1.5]))
    guided = with_landmarks(flat, replace(pair, moving=BRIGHTNESS_LOST[1](pair.moving)), error=0.5)
    fit = fit_affine(guided.fixed_landmarks, guided.moving_landmarks)
    found = run(guided, AutoSettings(LINEAR, None))
    assert float(flat.error(found.transform, pair.truth).mean()) < 0.7 * float(flat.error(fit, pair.truth).mean())


@pytest.mark.parametrize("off", [5.0, 12.0])
def test_landmarks_outweigh_images_that_agree_as_they_are(flat: Any, off: float) -> None:
    """The identity is no way out where it misses the landmarks."""
    image, points = flat.seen(flat.fixed_grid), flat.fixed_grid.world()[8:48:17, 8:60:22].flatten(0, 1)
    pair = Pair(image, image.clone(), flat.fixed_grid, flat.fixed_grid)
    found = run(replace(pair, fixed_landmarks=points, moving_landmarks=points + off), AutoSettings(LINEAR, None))
    torch.testing.assert_close(found.transform.points(points), points + off, rtol=0, atol=1e-6)
    assert not any("identity is returned" in sentence for sentence in found.account)


def test_landmarks_of_little_precision_do_not_hold_back_like_images(flat: Any, flat_pair: Pair) -> None:
    """Off by some voxels each, they give a start; the images say the rest."""
    guided = with_landmarks(flat, flat_pair, error=2.0)
    fit = fit_affine(guided.fixed_landmarks, guided.moving_landmarks)
    found = run(guided, AutoSettings(LINEAR, None))
    assert missed(found.transform, guided) > missed(fit, guided)
    assert not any("is kept" in sentence for sentence in found.account)


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_what_a_mask_hides_has_no_say(flat: Any, flat_pair: Pair, side: str) -> None:
    """Also a mask of a sixth of the image leaves enough to register."""
    mask = torch.zeros_like(getattr(flat_pair, side))
    mask[:, 14:-12, 10:36] = 1
    spoilt = torch.where(mask > 0, getattr(flat_pair, side), 3 * noise(*mask.shape[1:]))
    points = flat.fixed_grid.world().flatten(0, 1)
    maps = [run(replace(flat_pair, **{side: x, f"{side}_mask": mask})) for x in (getattr(flat_pair, side), spoilt)]
    assert torch.equal(*(found.transform.points(points) for found in maps))
    inner = flat.fixed_grid.world()[20:34, 16:30].flatten(0, 1)
    error = (maps[1].transform.points(inner) - flat_pair.truth.points(inner)).norm(dim=1)
    assert float(error.mean()) < 0.8


@pytest.mark.parametrize("side", ["fixed", "moving"])
@pytest.mark.parametrize(("value", "match"), [(0.5, "is constant"), (torch.nan, "not finite")])
def test_nothing_to_align_is_refused(flat_pair: Pair, side: str, value: float, match: str) -> None:
    with pytest.raises(ValueError, match=f"^{side} .*{match}"):
        run(replace(flat_pair, **{side: torch.full_like(getattr(flat_pair, side), value)}))


@pytest.mark.parametrize("seed", range(2))
def test_images_that_do_not_belong_together_are_said_so(seed: int) -> None:
    found = run(Pair.of(noise(64, 72, seed=2 * seed), noise(64, 72, seed=2 * seed + 1)))
    given_up, doubtful = ("the identity is returned", "may not belong together")
    assert any(given_up in sentence or doubtful in sentence for sentence in found.account), found.account


def test_what_belongs_together_is_not_doubted(flat: Any, flat_pair: Pair) -> None:
    noisy = [
        x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(k))
        for k, x in enumerate((flat_pair.fixed, flat_pair.moving))
    ]
    found = run(replace(flat_pair, fixed=noisy[0], moving=noisy[1]))
    assert not any("may not belong" in sentence for sentence in found.account)
    assert float(flat.error(found.transform, flat_pair.truth).mean()) < 1.5


def test_mirror_image_is_not_mirrored_nor_folded(flat: Any) -> None:
    """A mirror image is no motion: what comes out keeps its orientation, and the figures are in the account."""
    image = flat.seen(flat.fixed_grid)
    found = run(Pair(image, image.flip(2), flat.fixed_grid, flat.fixed_grid))
    determinant = found.transform.jacobian_determinant(flat.fixed_grid)
    assert float((determinant <= 0).double().mean()) < 1e-2
    assert any("local correlation" in sentence for sentence in found.account)


def test_images_that_agree_are_left(flat: Any) -> None:
    image = flat.seen(flat.fixed_grid)
    found = run(Pair(image, image.clone(), flat.fixed_grid, flat.fixed_grid))
    assert float(flat.error(found.transform, identity(2)).max()) < 0.1


def test_worse_than_the_identity_is_given_up(flat: Any) -> None:
    """A stage that only spoils, by settings that let it, ends in the identity and says so."""
    image = flat.seen(flat.fixed_grid)
    pair = Pair(image, image.clone(), flat.fixed_grid, flat.fixed_grid)
    start = flat.affine(np.eye(2), [25.0, 25.0])
    found = AutoRegistration(AutoSettings(deformable=None)).run(pair, start=start)
    assert found.account[-1].endswith("the identity is returned.")
    points = flat.fixed_grid.world().flatten(0, 1)
    assert torch.equal(found.transform.points(points), points)


@pytest.mark.parametrize("coarse_is_fixed", [True, False])
def test_sizes_may_differ_widely(flat: Any, turned: Turned, coarse_is_fixed: bool) -> None:
    coarse = flat.grid((24, 27), turned(2, 0.3) * 2.4, flat.middle)
    fine = flat.grid((320, 288), turned(2, -0.4) * 0.2, flat.middle + 1)
    fixed, moving = (coarse, fine) if coarse_is_fixed else (fine, coarse)
    truth = flat.affine(1.03 * turned(2, 0.1), [1.5, -1.0])
    found = run(
        Pair(flat.seen(fixed, truth), flat.seen(moving), fixed, moving),
        AutoSettings(LINEAR, DeformableSettings(iterations=10)),
    )
    points = flat.fixed_grid.world()[12:-12, 15:-15].flatten(0, 1)
    error, start = ((each.points(points) - truth.points(points)).norm(dim=1) for each in (found.transform, identity(2)))
    assert float(start.max()) > 2.5 and float(error.mean()) < 0.6


@pytest.mark.parametrize("model", [DenseDeformation, VelocityDeformation, BSplineDeformation])
def test_a_single_slice_of_a_volume(worlds: Any, model: Any) -> None:
    world = worlds[3]
    grid = world.grid((40, 44, 1), np.diag([1.0, 0.9, 2.0]), world.middle)
    truth = world.affine(np.eye(3), [2.0, -1.5, 0.0])
    settings = AutoSettings(LINEAR, DeformableSettings(model=model, iterations=25))
    found = run(Pair(world.seen(grid, truth), world.seen(grid), grid, grid), settings)
    points = grid.world()[8:-8, 8:-8].flatten(0, 2)
    error = (found.transform.points(points) - truth.points(points)).norm(dim=1)
    assert float(error.mean()) < 0.6


@pytest.mark.parametrize("model", [DenseDeformation, VelocityDeformation, BSplineDeformation])
def test_tiny_images(flat: Any, model: Any) -> None:
    grid = flat.grid((8, 8), 4 * np.eye(2), flat.middle)
    truth = flat.affine(np.eye(2), [3.0, -2.0])
    settings = AutoSettings(LINEAR, DeformableSettings(model=model, iterations=25))
    found = run(Pair(flat.seen(grid, truth), flat.seen(grid), grid, grid), settings)
    points = grid.world()[2:-2, 2:-2].flatten(0, 1)
    error = (found.transform.points(points) - truth.points(points)).norm(dim=1)
    assert float(error.max()) < 2.0


@pytest.mark.parametrize("shape", [(1, 40), (3, 50), (2, 2), (3, 1, 9)])
def test_shapes_of_few_voxels_end_in_some_map(shape: tuple[int, ...]) -> None:
    """Also where the descent leaves the image."""
    pair = Pair.of(noise(*shape), noise(*shape, seed=1))
    points = pair.fixed_grid.world().flatten(0, -2)
    found = run(pair)
    assert bool(torch.isfinite(found.transform.points(points)).all()) and found.account


def test_blurred_pair_of_noise_never_folds() -> None:
    rough = [smooth(noise(64, 72, seed=k)[None], 3.0)[0] for k in (1, 2)]
    found = run(Pair.of(*rough))
    assert float((found.transform.jacobian_determinant(SamplingGrid((64, 72))) <= 0).double().mean()) < 1e-2
