"""A known pair of one dictionary item: the truth holds in voxels, in the world, for labels and for landmarks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import set_track_meta
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor

from monai_cellreg.geometry import SamplingGrid, resample, to_voxel_ddf
from monai_cellreg.transforms import DeformationRange, KnownPairKeys, KnownPairs, RandKnownDeformationd
from monai_cellreg.transforms.deformation_family import FAMILIES

Turned = Callable[[int, float], np.ndarray]
EVERY_FAMILY = pytest.mark.parametrize("family", FAMILIES)
KEYS = KnownPairKeys(label="label", landmarks="landmarks", transform="truth")


def grid_of(dims: int, turned: Turned) -> SamplingGrid:
    affine = np.eye(dims + 1)
    affine[:-1, :-1] = turned(dims, 0.4) @ np.diag([0.5, 0.8, 1.1][:dims])
    affine[:-1, -1] = [12.0, -30.0, 5.0][:dims]
    return SamplingGrid((36, 28, 24)[:dims], affine)


def scene(dims: int, turned: Turned) -> dict[str, Any]:
    """Two blobs, the second brighter, a label of three values, and the blobs' centres in the world."""
    grid = grid_of(dims, turned)
    index = np.array([[15.0, 12, 11], [21, 16, 13]])[:, :dims]
    away = ((grid.index().numpy()[..., None, :] - index) ** 2).sum(-1)
    blobs = np.exp(-away / 8)
    image = torch.from_numpy(blobs @ [0.5, 1.0]).float()[None]
    label = torch.from_numpy((blobs[..., 0] > 0.5) * 3 + (blobs[..., 1] > 0.5) * 200).to(torch.uint8)[None]
    landmarks = grid.index_to_world(torch.from_numpy(index))
    return {"image": grid.to_image(image), "label": grid.to_image(label), "landmarks": landmarks}


def making(family: str = "thin_plate_spline", seed: int = 0, pose: bool = False) -> RandKnownDeformationd:
    made = RandKnownDeformationd(KEYS, deformation=DeformationRange(least=1.0, family=family), pose=pose)
    return made.set_random_state(seed)


@EVERY_FAMILY
def test_truth_in_voxels_and_in_the_world_agree(spatial_dims: int, turned: Turned, family: str) -> None:
    grid, made = grid_of(spatial_dims, turned), making(family)(scene(spatial_dims, turned))
    field = made["fixed_to_moving"].as_tensor()
    assert field.abs().max() > 1
    assert (to_voxel_ddf(made["truth"], grid, grid)[0] - field).abs().max() < 2e-3
    assert np.array_equal(made["fixed_to_moving"].affine, grid.affine)
    warped = resample(made["moving"].as_tensor()[None], made["truth"], grid, grid)[0]
    assert (warped - made["fixed"].as_tensor()).abs().max() < 1e-3  # without a pose, moving is the image itself


@EVERY_FAMILY
@pytest.mark.parametrize("pose", [False, True])
def test_landmarks_go_with_their_blobs(turned: Turned, spatial_dims: int, family: str, pose: bool) -> None:
    grid = grid_of(spatial_dims, turned)
    made = making(family, seed=2, pose=pose)(scene(spatial_dims, turned))
    fixed, moving = made["fixed_landmarks"], made["moving_landmarks"]
    assert (made["truth"].points(fixed) - moving).abs().max() < 1e-6
    for side in ("fixed", "moving"):
        for row, value, brightness in ((0, 3, 0.5), (1, 200, 1.0)):
            index = grid.world_to_index(made[f"{side}_landmarks"][row]).numpy()[:, None]
            peak = map_coordinates(made[f"{side}"][0].numpy(), index, order=1).item()
            assert peak > 0.75 * brightness
            assert map_coordinates(made[f"{side}_label"][0].numpy(), index, order=0).item() == value


def test_without_pose_moving_is_what_was_given(spatial_dims: int, turned: Turned) -> None:
    given = scene(spatial_dims, turned)
    made = making()(given)
    torch.testing.assert_close(made["moving"].as_tensor(), given["image"].as_tensor(), rtol=0, atol=1e-5)
    assert torch.equal(made["moving_label"].as_tensor(), given["label"].as_tensor())
    assert (made["moving_landmarks"] - given["landmarks"]).abs().max() < 1e-9
    assert set(made) == {*given, *(f"{side}{part}" for side in ("fixed", "moving") for part in
                         ("", "_label", "_landmarks")), "fixed_to_moving", "truth"}  # fmt: skip


def test_labels_keep_their_numbers(spatial_dims: int, turned: Turned) -> None:
    made = making()(scene(spatial_dims, turned))
    assert made["fixed_label"].dtype == torch.uint8
    assert set(made["fixed_label"].unique().tolist()) <= {0, 3, 200, 203}
    assert (made["fixed_label"] != made["moving_label"]).sum() > 10


def smooth(size: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(gaussian_filter(np.random.default_rng(0).normal(size=size), 3)).float()[None]


@pytest.mark.parametrize("pose", [False, True])
def test_is_known_pairs_of_the_same_seed(pose: bool) -> None:
    image = smooth((30, 40))
    make = RandKnownDeformationd(control_shape=(4, 5), pose=pose).set_random_state(5)
    made = make({"image": image})
    pairs = KnownPairs((30, 40), (4, 5), torch.Generator().manual_seed(make.seed), pose=pose)
    expected = pairs(image[None], torch.zeros(1, 1, 30, 40))
    for key in ("fixed", "moving", "fixed_to_moving"):
        assert torch.equal(made[key].as_tensor(), expected[key][0])


def test_images_of_several_sizes_take_turns() -> None:
    make = RandKnownDeformationd().set_random_state(0)
    for size in ((20, 30), (24, 18), (20, 30), (12, 14, 16)):
        made = make({"image": torch.rand(2, *size)})
        assert made["fixed"].shape == (2, *size) and made["fixed_to_moving"].shape == (len(size), *size)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("label", torch.zeros(1, 4, 5), "label has shape 4x5 but image has shape 36x28"),
        ("landmarks", np.zeros((4, 3)), "landmarks has shape 4x3 but the images have 2 axes"),
    ],
)
def test_what_does_not_fit_is_refused(turned: Turned, key: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        making()(scene(2, turned) | {key: value})


def test_too_few_control_points_are_refused() -> None:
    make = RandKnownDeformationd(control_shape=3, deformation=DeformationRange(family="bspline"))
    with pytest.raises(ValueError, match="lattice has 3x3 control points; expected at least 4"):
        make({"image": torch.zeros(1, 8, 9)})


@pytest.mark.parametrize("key", ["image", "label", "landmarks"])
def test_missing_keys_are_named(turned: Turned, key: str) -> None:
    data = scene(2, turned)
    del data[key]
    with pytest.raises(KeyError, match=key):
        making()(data)


def test_without_tracking_all_is_plain() -> None:
    set_track_meta(False)
    try:
        made = RandKnownDeformationd()({"image": torch.rand(1, 20, 24)})
    finally:
        set_track_meta(True)
    assert {type(value) for value in made.values()} == {Tensor}
