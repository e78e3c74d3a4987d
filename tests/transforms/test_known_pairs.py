"""The truth of a made pair is exact, never folds, and depends on nothing but the seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor

from monai_cellreg.geometry import ThinPlateSplineField
from monai_cellreg.transforms import DeformationRange, KnownPairs
from monai_cellreg.transforms.deformation_family import FAMILIES

FLAT, VOLUME = (40, 56), (24, 20, 28)
EVERY_SIZE = pytest.mark.parametrize("size", [FLAT, VOLUME], ids=["2D", "3D"])
WILD = DeformationRange(rotation_deg=60, stretch=0.6, shift=0.5, local=0.6, least=1.0)


def maker(size: tuple[int, ...] = FLAT, seed: int = 0, **options: Any) -> KnownPairs:
    return KnownPairs(size, (5, 5, 4)[: len(size)], torch.Generator().manual_seed(seed), **options)


def scene(size: tuple[int, ...] = FLAT, batch: int = 3) -> tuple[Tensor, Tensor]:
    """Smooth images in [0, 1] and masks of their brighter half."""
    rng = np.random.default_rng(1)
    images = np.stack([gaussian_filter(rng.normal(size=size), 3, mode="nearest") for _ in range(batch)])[:, None]
    images = (images - images.min()) / np.ptp(images)
    image = torch.from_numpy(images).float()
    return image, (image > image.median()).float()


def difference(fixed: np.ndarray, moving: np.ndarray, field: np.ndarray) -> float:
    """Largest ``|fixed(x) - moving(x + field(x))|`` where that point lies well inside; read by a cubic spline."""
    where = np.indices(fixed.shape) + field
    last = np.array(fixed.shape).reshape(-1, *([1] * fixed.ndim)) - 1
    inside = ((where > 2) & (where < last - 2)).all(axis=0)
    assert inside.mean() > 0.25
    return float(np.abs(fixed - map_coordinates(moving, where, order=3))[inside].max())


@EVERY_SIZE
@pytest.mark.parametrize("pose", [False, True])
def test_fixed_is_moving_read_through_the_truth(size: tuple[int, ...], pose: bool) -> None:
    made = maker(size, pose=pose, deformation=DeformationRange(least=1.0))(*scene(size))
    pair = {name: value.double().numpy() for name, value in made.items()}
    for k in range(3):
        fixed, moving, field = pair["fixed"][k, 0], pair["moving"][k, 0], pair["fixed_to_moving"][k]
        assert difference(fixed, moving, field) < 0.04
        assert difference(fixed, moving, 0 * field) > 0.08
        assert difference(fixed, moving, -field) > 0.08


@EVERY_SIZE
def test_truth_is_the_spline_of_the_parameters(size: tuple[int, ...]) -> None:
    pairs = maker(size)
    pair = pairs(*scene(size))
    spline = ThinPlateSplineField(size, pairs.field.control_shape)
    assert torch.equal(pair["fixed_to_moving"], spline(pair["parameters"]))
    half = (torch.tensor(size) - 1) / 2
    corner = (slice(None), slice(None), *([0] * len(size)))  # the first control point is the first voxel
    torch.testing.assert_close(pair["fixed_to_moving"][corner], pair["parameters"][:, 0] * half, atol=1e-4, rtol=0)


def test_given_parameters_are_used_and_nothing_is_drawn_for_them() -> None:
    given = maker(seed=7).draw(3)
    pairs = maker(pose=False)
    before = pairs.generator.get_state()
    pair = pairs(*scene(), given)
    assert torch.equal(pair["parameters"], given)
    assert torch.equal(pairs.generator.get_state(), before)


def test_without_pose_the_moving_image_is_the_given_one() -> None:
    image, label = scene()
    pair = maker(pose=False)(image, label)
    torch.testing.assert_close(pair["moving"], image, rtol=0, atol=1e-5)
    assert torch.equal(pair["moving_label"], label)


def test_pose_moves_the_scene_the_same_way_in_both_images() -> None:
    image, label = scene()
    pairs = maker()
    pair = pairs(image, label, torch.zeros(3, 25, 2))
    assert torch.equal(pair["fixed"], pair["moving"])
    assert torch.equal(pair["fixed_label"], pair["moving_label"])
    for k in range(3):
        assert (pair["moving"][k] - image[k]).abs().mean() > 0.05


@EVERY_SIZE
@pytest.mark.parametrize("spacing", [None, (2.0, 0.7, 1.0)], ids=["even", "uneven"])
def test_pose_turns_mirrors_scales_and_shifts(size: tuple[int, ...], spacing: tuple[float, ...] | None) -> None:
    """Images of the coordinates show where each voxel was read; in physical space that is no shear."""
    spacing = spacing and spacing[: len(size)]
    half = (np.array(size) - 1) / 2 * (spacing or 1.0)
    place = np.stack(np.meshgrid(*[np.linspace(-h, h, s) for h, s in zip(half, size, strict=True)], indexing="ij"))
    image = torch.from_numpy(place).float().expand(30, *place.shape)
    read = maker(size, spacing=spacing)(image, image[:, :1])["moving"].double().numpy()
    inside = np.linalg.norm(place, axis=0) < 0.6 * half.min()  # stays inside under every pose
    points = np.column_stack([place[:, inside].T, np.ones(inside.sum())])
    fits = np.stack([np.linalg.lstsq(points, r[:, inside].T, rcond=None)[0] for r in read])  # (40, D + 1, D)
    assert np.abs(points @ fits[0] - read[0][:, inside].T).max() < 1e-3
    scales = np.linalg.svd(fits[:, :-1])[1]
    np.testing.assert_allclose(scales / scales[:, :1], 1, atol=1e-3)
    assert 0.79 < scales.min() < 0.85 and 1.15 < scales.max() < 1.26
    shifts = np.abs(fits[:, -1]) / half
    assert 0.06 < shifts.max() <= 0.0751 and 0.03 < shifts.mean() < 0.045
    assert 6 < np.sum(np.linalg.det(fits[:, :-1]) < 0) < 24
    assert np.abs(fits[:, :-1].mean(0)).max() < 0.35  # no direction is preferred


@EVERY_SIZE
def test_labels_stay_binary_and_move_with_their_image(size: tuple[int, ...]) -> None:
    image, _ = scene(size)
    label = (image > 0.5).float()
    pair = maker(size)(label, label)
    for side in ("fixed", "moving"):
        assert set(pair[f"{side}_label"].unique().tolist()) == {0.0, 1.0}
        assert torch.equal(pair[f"{side}_label"], (pair[side] > 0.5).float())


def test_every_channel_is_moved_alike_and_the_input_is_kept() -> None:
    image, label = scene()
    channels = torch.cat([image, 2 * image], dim=1)
    before = channels.clone()
    pair = maker()(channels, label)
    assert torch.equal(channels, before)
    torch.testing.assert_close(pair["fixed"][:, 1], 2 * pair["fixed"][:, 0])


@pytest.mark.parametrize("shift, holds", [(0.0, True), (0.3, False)])
@pytest.mark.parametrize("local", [0.07, 0.6])
def test_control_points_have_no_mean_shift_when_shift_is_zero(shift: float, holds: bool, local: float) -> None:
    mean = maker(deformation=DeformationRange(shift=shift, local=local)).draw(20).mean(1)
    assert (mean.abs().max().item() < 1e-6) == holds


@EVERY_SIZE
@pytest.mark.parametrize("deformation", [DeformationRange(), WILD], ids=["default", "wild"])
def test_never_folds(size: tuple[int, ...], deformation: DeformationRange) -> None:
    pairs = maker(size, deformation=deformation)
    parameters = pairs.draw(8)
    assert parameters.abs().amax((1, 2)).min() > 0.01
    fine = tuple(100 if len(size) == 2 else 40 for _ in size)  # not the lattice on which draws are checked
    assert least_determinant(ThinPlateSplineField(fine, pairs.field.control_shape)(parameters)) > 0


def least_determinant(fields: Tensor) -> float:
    """The smallest Jacobian determinant of voxel fields (B, D, *spatial), by NumPy's differences."""
    least = np.inf
    for field in fields.double().numpy():
        rows = [np.stack(np.gradient(component), axis=-1) for component in field]
        least = min(least, np.linalg.det(np.stack(rows, axis=-2) + np.eye(len(field))).min())
    return float(least)


@EVERY_SIZE
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("wild", [False, True])
def test_every_family_deforms_and_never_folds(size: tuple[int, ...], family: str, wild: bool) -> None:
    deformation = replace(WILD if wild else DeformationRange(least=1.0), family=family)
    pairs = maker(size, deformation=deformation)
    made = pairs(*scene(size, batch=2))
    assert torch.equal(made["fixed_to_moving"], pairs.field(made["parameters"]))
    assert least_determinant(made["fixed_to_moving"]) > 0.05
    assert made["fixed_to_moving"].abs().flatten(1).amax(1).min() > 1
    assert not torch.equal(made["fixed_to_moving"][0], made["fixed_to_moving"][1])


@EVERY_SIZE
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_reads_fixed_through_the_truth(size: tuple[int, ...], family: str) -> None:
    made = maker(size, deformation=DeformationRange(least=1.0, family=family))(*scene(size, batch=1))
    fixed, moving, field = (made[name][0].double().numpy() for name in ("fixed", "moving", "fixed_to_moving"))
    assert difference(fixed[0], moving[0], field) < 0.04


@EVERY_SIZE
@pytest.mark.parametrize("family", ["thin_plate_spline", "affine", "bspline"])
def test_families_turn_rigidly_and_alike(size: tuple[int, ...], family: str) -> None:
    """Without local displacements the families are the same affine map, in physical space a rotation and a shift."""
    deformation = DeformationRange(stretch=0, local=0, least=1.0, rotation_deg=20)
    spacing = (1.5, 0.8, 1.0)[: len(size)]
    splines = maker(size, deformation=replace(deformation, shift=0), spacing=spacing)
    pairs = maker(size, deformation=replace(deformation, shift=0, family=family), spacing=spacing)
    field = pairs.field(pairs.draw(1))
    if family == "affine":  # draws as many numbers as the spline
        assert (field - splines.field(splines.draw(1))).abs().max() < 1e-4
    index = np.indices(size).reshape(len(size), -1)
    moved = index + field[0].flatten(1).double().numpy()
    fit = np.linalg.lstsq(np.vstack([index, np.ones(index.shape[1])]).T, moved.T, rcond=None)[0]
    assert np.abs(fit.T @ np.vstack([index, np.ones(index.shape[1])]) - moved).max() < 1e-3
    turn = np.diag(spacing) @ fit[:-1].T @ np.diag(1 / np.array(spacing))
    np.testing.assert_allclose(turn @ turn.T, np.eye(len(size)), atol=1e-4)
    assert np.abs(turn - np.eye(len(size))).max() > 0.02


def test_affine_takes_the_best_fit_of_the_displacements_of_its_control_points() -> None:
    deformation = DeformationRange(local=0.03, least=1.0)  # that has not to be scaled down
    drawn = maker(deformation=deformation).draw(2).double().numpy()
    affine = maker(deformation=replace(deformation, family="affine")).draw(2).numpy()
    control = np.stack(np.meshgrid(*[np.linspace(-1, 1, 5)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    for displacements, found in zip(drawn, affine, strict=True):
        fit = np.linalg.lstsq(np.column_stack([control, np.ones(25)]), displacements, rcond=None)[0]
        np.testing.assert_allclose(found, fit.T, atol=1e-5)


def test_velocity_flows_the_displacement_of_the_bspline() -> None:
    deformation = DeformationRange(local=0.01, rotation_deg=1, stretch=0.01, shift=0.01, least=1.0)
    velocity, spline = (maker(deformation=replace(deformation, family=name)) for name in ("velocity", "bspline"))
    drawn, coefficients = velocity.draw(1), spline.draw(1)
    torch.testing.assert_close(drawn, spline.field(coefficients))
    assert (velocity.field(drawn) - drawn).abs().max() < 0.1 * drawn.abs().max()  # nearly at rest, a flow is straight


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spacing": (1.0, 2.0, 3.0)}, r"spacing is \(1.0, 2.0, 3.0\) for 2 axes, expected one"),
        ({"spacing": (1.0, -2.0)}, "spacing is .* expected finite numbers above 0"),
    ],
)
def test_unsound_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        maker(**options)


def test_deformation_that_cannot_be_tamed_is_refused() -> None:
    with pytest.raises(ValueError, match=r"local=1e\+20.* always folds; expected a smaller range"):
        maker(deformation=DeformationRange(local=1e20)).draw(2)


def test_range_scales_the_deformation() -> None:
    small, large = (maker(deformation=DeformationRange(0, 0, 0, local, least=1.0)).draw(50) for local in (0.02, 0.04))
    torch.testing.assert_close(large, 2 * small)  # the same draws
    assert small.std().item() == pytest.approx(0.02, rel=0.1)
    turned = maker(deformation=DeformationRange(10.0, 0, 0, 0, least=1.0)).draw(400)
    half = (torch.tensor(FLAT) - 1) / 2  # a turn by an angle a moves the corner by 2 * |half| * sin(a / 2)
    angle = 2 * np.arcsin((turned[:, 0] * half).norm(dim=1).numpy() / (2 * half.norm().item()))
    assert np.rad2deg(np.sqrt(np.mean(angle**2))) == pytest.approx(10.0, rel=0.1)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[bool]:
    return [torch.equal(one[name], other[name]) for name in one]


def test_seed_alone_decides() -> None:
    torch.manual_seed(1)
    first = maker(seed=5)(*scene())
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = maker(seed=5)(*scene())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(same(first, again))
    assert not any(same(first, maker(seed=6)(*scene())))


def test_next_call_gives_other_pairs() -> None:
    pairs = maker()
    assert not any(same(pairs(*scene()), pairs(*scene())))
    drawn = pairs.draw(3)
    assert not torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize("wrong", ["image", "label"])
def test_images_of_another_size_are_refused(wrong: str) -> None:
    turned: Callable[[str, Tensor], Tensor] = lambda name, value: value.mT if name == wrong else value  # noqa: E731
    image, label = scene()
    with pytest.raises(ValueError, match=rf"{wrong} has shape \(3, 1, 56, 40\); expected \(B, C, \*\(40, 56\)\)"):
        maker()(turned("image", image), turned("label", label))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"family": "spline"}, "family is 'spline', expected one of"),
        ({"rotation_deg": -3.0}, "rotation_deg is -3.0, expected finite numbers of at least 0"),
        ({"local": float("nan")}, "local is nan, expected finite numbers of at least 0"),
    ],
)
def test_impossible_ranges_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DeformationRange(**options)
