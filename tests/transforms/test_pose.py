"""One pose for all of a pair: what lies at one place of the scene stays together, and comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, ScaleIntensityd
from scipy.ndimage import affine_transform
from torch import Tensor

from monai_cellreg.geometry import AffineTransform, DenseTransform, SamplingGrid, SpatialTransform, to_voxel_ddf
from monai_cellreg.transforms import PoseRange, RandPairPosed

Turned = Callable[[int, float], np.ndarray]
CENTRE = np.array([31.0, -12.0, 8.0])
STILL = PoseRange(rotation_deg=0, mirror_axes=(), zoom=1, shift=0)


def grids(dims: int, turned: Turned) -> tuple[SamplingGrid, SamplingGrid]:
    """Two grids of other shape, spacing and direction about nearly the same place, that is not the origin."""
    made = []
    for shape, spacing, angle in (((38, 46, 30), (1.0, 0.8, 1.2), 0.3), ((34, 30, 40), (1.1, 1.3, 0.9), -0.5)):
        affine = np.eye(dims + 1)
        affine[:-1, :-1] = turned(dims, angle) @ np.diag(spacing[:dims])
        affine[:-1, -1] = CENTRE[:dims] - affine[:-1, :-1] @ ((np.array(shape[:dims]) - 1) / 2) + 0.4 * angle
        made.append(SamplingGrid(shape[:dims], affine))
    return made[0], made[1]


def blob(grid: SamplingGrid, centre: np.ndarray, width: float = 2.0) -> Tensor:
    """A Gaussian blob at a world point."""
    away = (grid.world() - torch.tensor(centre)).square().sum(-1)
    return torch.exp(-away / (2 * width**2)).float()[None]


def centroid(grid: SamplingGrid, image: Tensor) -> np.ndarray:
    """World position of an image's centre of mass."""
    weight = torch.as_tensor(image)[0].double().clone()
    return ((grid.world() * weight[..., None]).flatten(0, -2).sum(0) / weight.sum()).numpy()


def truth(dims: int, turned: Turned) -> AffineTransform:
    """A turn about the centre and a shift."""
    turn, centre = turned(dims, 0.2), CENTRE[:dims]
    return AffineTransform(np.column_stack([turn, centre - turn @ centre + 0.7]))


def pair(dims: int, turned: Turned) -> dict[str, Any]:
    """Blobs at a landmark of either image, labels, and the true map from one landmark to the other."""
    fixed, moving = grids(dims, turned)
    landmark = CENTRE[:dims] + [3.0, -2.0, 1.0][:dims]
    mapping = truth(dims, turned)
    moved = mapping.points(landmark[None])[0]
    images = {"fixed": blob(fixed, landmark), "moving": blob(moving, moved)}
    data: dict[str, Any] = {key: grid.to_image(images[key]) for key, grid in (("fixed", fixed), ("moving", moving))}
    for key, grid in (("fixed", fixed), ("moving", moving)):
        data[f"{key}_label"] = grid.to_image(7 * (images[key] > 0.1).to(torch.uint8))
    data |= {"fixed_landmarks": torch.tensor(landmark)[None], "moving_landmarks": moved[None]}
    return data | {"truth": mapping, "ddf": fixed.to_image(to_voxel_ddf(mapping, fixed, moving)[0])}


def posing(pose: PoseRange | None = None, prob: float = 1.0) -> RandPairPosed:
    return RandPairPosed(
        ["fixed", "moving"],
        label_keys=["fixed_label", "moving_label"],
        landmark_keys=["fixed_landmarks", "moving_landmarks"],
        truth_keys=["truth", "ddf"],
        pose=pose,
        prob=prob,
    )


@pytest.mark.parametrize("seed", range(3))
def test_landmarks_and_labels_go_with_the_image(spatial_dims: int, turned: Turned, seed: int) -> None:
    before = pair(spatial_dims, turned)
    after = posing().set_random_state(seed)(before)
    for side, grid in zip(("fixed", "moving"), grids(spatial_dims, turned), strict=True):
        landmark = np.asarray(after[f"{side}_landmarks"])[0]
        assert np.abs(landmark - np.asarray(before[f"{side}_landmarks"])[0]).max() > 0.5
        assert np.abs(centroid(grid, after[side]) - landmark).max() < 0.1
        label, expected = after[f"{side}_label"].as_tensor() > 0, after[side].as_tensor() > 0.1
        assert (label & expected).sum() > 0.75 * (label | expected).sum()
        assert after[f"{side}_label"].dtype == torch.uint8
        assert after[f"{side}_label"].unique().tolist() == [0, 7]
        assert np.array_equal(after[side].affine, grid.affine) and after[side].meta["space"] == "index"


@pytest.mark.parametrize("seed", range(3))
def test_truth_still_maps_fixed_to_moving(spatial_dims: int, turned: Turned, seed: int) -> None:
    after = posing().set_random_state(seed)(pair(spatial_dims, turned))
    fixed, moving = (np.asarray(after[f"{side}_landmarks"]) for side in ("fixed", "moving"))
    assert np.abs(fixed - moving).max() > 0.5
    assert np.abs(after["truth"].points(fixed) - moving).max() < 1e-9
    dense = DenseTransform.from_voxel_ddf(after["ddf"].as_tensor()[None], *grids(spatial_dims, turned))
    assert np.abs(dense.points(fixed) - moving).max() < 1e-3
    assert isinstance(after["truth"], SpatialTransform) and isinstance(after["ddf"], MetaTensor)


def test_images_are_read_through_the_recorded_matrix(spatial_dims: int, turned: Turned) -> None:
    """SciPy reads the same image through the same matrix, given in its own index coordinates."""
    before = pair(spatial_dims, turned)
    after = posing().set_random_state(4)(before)
    for side, grid in zip(("fixed", "moving"), grids(spatial_dims, turned), strict=True):
        world = np.eye(spatial_dims + 1)
        world[:-1] = after[side].applied_operations[-1]["extra_info"]["matrix"]
        index = np.linalg.inv(grid.affine) @ world @ grid.affine
        expected = affine_transform(before[side][0].numpy(), index, order=1, mode="nearest")
        assert np.abs(after[side][0].numpy() - expected).max() < 1e-4


def test_mirror_alone_is_an_exact_flip(spatial_dims: int) -> None:
    image = torch.rand(1, *(5, 8, 6)[:spatial_dims])
    pose = RandPairPosed("image", pose=PoseRange(rotation_deg=0, mirror_axes=[1], zoom=1, shift=0))
    flipped = []
    for seed in range(8):
        out = pose.set_random_state(seed)({"image": image})["image"].as_tensor()
        flipped.append(bool((out - image).abs().max() > 0.1))
        assert (out - (image.flip(2) if flipped[-1] else image)).abs().max() < 1e-5
    assert 0 < sum(flipped) < 8


def test_inverse_gives_all_of_it_back(spatial_dims: int, turned: Turned) -> None:
    before = pair(spatial_dims, turned)
    pose = posing().set_random_state(1)
    after = pose(before)
    recorded = len(after["fixed"].applied_operations)
    back = pose.inverse(after)
    assert len(after["fixed"].applied_operations) == recorded == 1  # the argument is kept
    for side in ("fixed", "moving"):
        assert back[side].applied_operations == []
        assert (back[side] - before[side]).abs().max() < 0.15  # read twice; blobs of a width of two voxels
        assert (after[side] - before[side]).abs().max() > 0.3
        away = np.abs(np.asarray(back[f"{side}_landmarks"]) - np.asarray(before[f"{side}_landmarks"]))
        assert away.max() < 1e-6
    points = np.asarray(before["fixed_landmarks"])
    assert np.abs(back["truth"].points(points) - before["truth"].points(points)).max() < 1e-9


def test_invertd_takes_one_image_back(spatial_dims: int, turned: Turned) -> None:
    before = pair(spatial_dims, turned)
    chain = Compose([ScaleIntensityd(["fixed", "moving"]), posing()]).set_random_state(3)
    after = chain(before)
    after["pred"] = after["moving"].clone()
    back = Invertd("pred", chain, orig_keys="moving", nearest_interp=False)(after)
    assert (back["pred"] - before["moving"]).abs().max() < 0.15
    assert (after["pred"] - before["moving"]).abs().max() > 0.3


def test_without_a_draw_nothing_changes(spatial_dims: int, turned: Turned) -> None:
    before = pair(spatial_dims, turned)
    pose = posing(prob=0.0).set_random_state(0)
    for after in (pose(before), pose.inverse(pose(before))):
        for key in ("fixed", "moving_label", "moving_landmarks", "ddf"):
            assert np.array_equal(after[key], before[key])
        assert after["truth"] is before["truth"]


def draws(pose: PoseRange, *grids: SamplingGrid, count: int = 60) -> np.ndarray:
    random = np.random.RandomState(0)
    return np.concatenate([pose.draw(random, grids).matrix.numpy() for _ in range(count)])


def test_pose_is_drawn_within_its_range(spatial_dims: int, turned: Turned) -> None:
    fixed, moving = grids(spatial_dims, turned)
    centre = np.mean([g.index_to_world((torch.tensor(g.shape).double() - 1) / 2) for g in (fixed, moving)], axis=0)
    matrices = draws(PoseRange(zoom=1.5, shift=0.1), fixed, moving)
    scales = np.linalg.svd(matrices[..., :-1])[1]
    np.testing.assert_allclose(scales, scales[:, :1].repeat(spatial_dims, 1), rtol=1e-9)  # no shear in the world
    assert 1 / 1.5 <= scales.min() < 0.72 and 1.4 < scales.max() <= 1.5
    shifts = np.abs(matrices[..., :-1] @ centre + matrices[..., -1] - centre)
    most = 0.1 * min(n * s for n, s in zip(fixed.shape, fixed.spacing, strict=True))
    assert 0.9 * most < shifts.max() <= most
    assert 15 < (np.linalg.det(matrices[..., :-1]) < 0).sum() < 45


def test_turns_stay_within_their_range() -> None:
    flat, volume = SamplingGrid((20, 30)), SamplingGrid((20, 30, 10))
    turns = draws(PoseRange(30.0, (), 1.0, 0.0), flat)
    angles = np.rad2deg(np.arctan2(turns[:, 1, 0], turns[:, 0, 0]))
    assert -30 <= angles.min() < -24 and 24 < angles.max() <= 30
    planar = draws(PoseRange((0.0, 0.0, 180.0), (), 1.0, 0.0), volume)
    np.testing.assert_allclose(planar[:, 2, :3], np.tile([0.0, 0.0, 1.0], (60, 1)), atol=1e-12)
    assert np.ptp(planar[:, 0, 0]) > 1


def test_only_named_axes_are_mirrored() -> None:
    signs = draws(PoseRange(0.0, (0, 2), 1.0, 0.0), SamplingGrid((4, 6, 5)))[:, range(3), range(3)]
    assert {tuple(row) for row in signs} == {(a, 1.0, b) for a in (-1.0, 1.0) for b in (-1.0, 1.0)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"zoom": 0.5}, "zoom is 0.5; expected 1 or more"),
        ({"rotation_deg": -1.0}, "rotation_deg is -1.0; expected numbers of 0 or more"),
        ({"shift": np.inf}, "shift is inf; expected numbers of 0 or more"),
    ],
)
def test_unsound_ranges_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PoseRange(**options)


@pytest.mark.parametrize(
    ("pose", "message"),
    [
        (PoseRange(rotation_deg=(1.0, 2.0)), r"rotation_deg is \(1.0, 2.0\) for images that have 1 rotations"),
        (PoseRange(mirror_axes=(2,)), "mirror_axes is 2, expected one of 0, 1"),
    ],
)
def test_range_for_another_dimension_is_refused(pose: PoseRange, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandPairPosed("image", pose=pose)({"image": torch.zeros(1, 4, 5)})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("moving", torch.zeros(1, 4, 5, 6), "fixed is 2D .* but moving is 3D"),
        ("fixed_label", torch.zeros(1, 4, 5), "fixed_label lies on the grid of none of the images"),
        ("fixed_landmarks", torch.zeros(3, 3), "fixed_landmarks has shape 3x3 but the images have 2 axes"),
        ("fixed_landmarks", torch.zeros(2), "fixed_landmarks has shape 2 but .* one landmark a row"),
        ("ddf", torch.zeros(2, 4, 5), "ddf has shape 2x4x5 but its grid is 38x46"),
    ],
)
def test_what_does_not_fit_is_refused(turned: Turned, key: str, value: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        posing()(pair(2, turned) | {key: value})


@pytest.mark.parametrize("key", ["fixed", "moving_label", "moving_landmarks", "truth"])
def test_missing_keys_are_named(turned: Turned, key: str) -> None:
    data = pair(2, turned)
    del data[key]
    with pytest.raises(KeyError, match=key):
        posing()(data)
