"""Another size, the same places: world positions stay, and landmarks in pixels follow their pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, set_track_meta
from monai.transforms import Compose, Invertd, MapTransform

from monai_cellreg.geometry import SamplingGrid
from monai_cellreg.transforms import PadToMultipled, ResizeWithLandmarksd

Turned = Callable[[int, float], np.ndarray]
SHAPE = (37, 50, 22)


def scene(dims: int, turned: Turned) -> tuple[SamplingGrid, dict[str, Any]]:
    """A blob with its centre in index and in world coordinates, and its label."""
    affine = np.eye(dims + 1)
    affine[:-1, :-1] = turned(dims, 0.6) @ np.diag([2.0, 0.5, 1.5][:dims])
    affine[:-1, -1] = [10.0, -3.0, 7.0][:dims]
    grid = SamplingGrid(SHAPE[:dims], affine)
    index = np.array([14.5, 31.0, 9.0])[:dims]
    image = torch.exp(-((grid.index() - torch.tensor(index)) ** 2).sum(-1) / 16).float()[None]
    world = grid.index_to_world(torch.tensor(index))[None]
    data = {"image": grid.to_image(image), "label": grid.to_image((image > 0.4).float())}
    return grid, data | {"index": index[None], "world": world}


def resizing(dims: int) -> ResizeWithLandmarksd:
    size = (60, 34, 30)[:dims]  # enlarged, reduced, enlarged
    return ResizeWithLandmarksd(["image", "label"], size, landmark_keys="index", mode=["linear", "nearest-exact"])


def padding(dims: int) -> PadToMultipled:
    return PadToMultipled(["image", "label"], (16, 8, 16)[:dims], landmark_keys=["index"])


BOTH = pytest.mark.parametrize("made", [resizing, padding])
Made = Callable[[int], MapTransform]


def centre(image: torch.Tensor) -> np.ndarray:
    weight = image.as_tensor()[0].double() if isinstance(image, MetaTensor) else image[0].double()
    index = SamplingGrid(tuple(weight.shape)).index()
    return ((index * weight[..., None]).flatten(0, -2).sum(0) / weight.sum()).numpy()


@BOTH
def test_landmarks_and_labels_go_with_the_image(spatial_dims: int, turned: Turned, made: Made) -> None:
    grid, before = scene(spatial_dims, turned)
    after = made(spatial_dims)(before)
    assert after["image"].shape[1:] != grid.shape
    assert np.abs(after["index"] - before["index"]).max() > 1
    assert np.abs(centre(after["image"]) - after["index"][0]).max() < 0.1
    assert np.abs(centre(after["label"]) - after["index"][0]).max() < 0.2
    assert after["label"].unique().tolist() == [0.0, 1.0]


@BOTH
def test_world_positions_stay(spatial_dims: int, turned: Turned, made: Made) -> None:
    _, before = scene(spatial_dims, turned)
    after = made(spatial_dims)(before)
    assert torch.equal(after["world"], before["world"])
    for key in ("image", "label"):
        new = SamplingGrid.from_image(after[key])
        assert (new.index_to_world(torch.tensor(after["index"])) - before["world"]).abs().max() < 1e-9
        assert np.abs(new.index_to_world(torch.tensor(centre(after[key]))) - before["world"][0]).max() < 0.2
        assert after[key].meta["space"] == "index"


@BOTH
@pytest.mark.parametrize("how", ["inverse", "compose", "invertd"])
def test_inverse_gives_image_and_landmarks_back(spatial_dims: int, turned: Turned, made: Made, how: str) -> None:
    grid, before = scene(spatial_dims, turned)
    change = Compose([made(spatial_dims)])
    after = change(before)
    assert SamplingGrid.from_image(after["image"]).matches(grid) is False
    if how == "invertd":
        back = Invertd("image", change, nearest_interp=False)(after)
    else:
        back = (change if how == "compose" else change.transforms[0]).inverse(after)  # type: ignore[attr-defined]
        assert np.abs(back["index"] - before["index"]).max() < 1e-9
        assert (back["label"] != before["label"]).float().mean() < 0.02
    assert SamplingGrid.from_image(back["image"]).matches(grid)
    assert (back["image"] - before["image"]).abs().max() < 0.15


def test_resized_grid_is_that_of_the_geometry(spatial_dims: int, turned: Turned) -> None:
    grid, before = scene(spatial_dims, turned)
    new = SamplingGrid.from_image(resizing(spatial_dims)(before)["image"])
    assert new.matches(grid.resized((60, 34, 30)[:spatial_dims]))


def test_longest_side_and_end_padding() -> None:
    resize = ResizeWithLandmarksd("image", 20, landmark_keys="points", size_mode="longest")
    out = resize({"image": torch.zeros(1, 5, 10), "points": torch.tensor([[0.0, 9.0]])})
    assert out["image"].shape == (1, 10, 20)
    torch.testing.assert_close(out["points"], torch.tensor([[0.5, 18.5]]))
    pad = PadToMultipled("image", 4, landmark_keys="points", method="end", mode="replicate")
    out = pad({"image": torch.ones(1, 5, 10), "points": np.array([[1, 2]])})
    assert out["image"].shape == (1, 8, 12) and bool((out["image"] == 1).all())
    np.testing.assert_allclose(out["points"], [[1.0, 2.0]])
    assert out["image"].meta["space"] == "index"  # a plain tensor has no other frame


@pytest.mark.parametrize("mode", ["nearest", ["linear", "nearest"]])
def test_the_mode_that_shifts_labels_is_refused(mode: str | list[str]) -> None:
    with pytest.raises(ValueError, match="mode is 'nearest', expected one of .* did you mean 'nearest-exact'"):
        ResizeWithLandmarksd(["image", "label"], 8, mode=mode)


def test_more_landmarks_than_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"landmark_keys are \('a', 'b'\) for the keys \('image',\)"):
        PadToMultipled("image", 8, landmark_keys=["a", "b"])


@BOTH
def test_landmarks_of_another_dimension_are_refused(turned: Turned, made: Made) -> None:
    _, data = scene(2, turned)
    with pytest.raises(ValueError, match="index has shape 5x3 but the images have 2 axes"):
        made(2)(data | {"index": np.zeros((5, 3))})


@pytest.mark.parametrize("key", ["image", "index"])
def test_missing_keys_are_named(turned: Turned, key: str) -> None:
    _, data = scene(2, turned)
    del data[key]
    with pytest.raises(KeyError, match=key):
        padding(2)(data)


def test_untracked_metadata_are_refused(turned: Turned) -> None:
    set_track_meta(False)
    try:
        with pytest.raises(ValueError, match="image has no affine, so points cannot be carried along"):
            PadToMultipled("image", 8, landmark_keys="points")(
                {"image": torch.zeros(1, 5, 6), "points": torch.zeros(1, 2)}
            )
    finally:
        set_track_meta(True)


def test_each_landmark_set_belongs_to_its_image() -> None:
    points = np.array([[1.0, 2.0]])
    other = SamplingGrid((7, 16), np.diag([2.0, 3.0, 1.0])).to_image(torch.zeros(1, 7, 16))
    data = {"a": torch.zeros(1, 5, 8), "b": other, "in_a": points, "in_b": points}
    out = PadToMultipled(["a", "b"], (9, 8), landmark_keys=["in_a", "in_b"])(data)
    np.testing.assert_allclose(np.concatenate([out["in_a"], out["in_b"]]), [[3.0, 2.0], [2.0, 2.0]])


@pytest.mark.parametrize("size", [(43, 20), (30, 61)])
def test_a_ramp_keeps_its_world_positions(size: tuple[int, int]) -> None:
    ramp = torch.arange(40.0)[None, :, None].expand(1, 40, 40).clone()
    out = ResizeWithLandmarksd("image", size)({"image": ramp})["image"]
    rows = SamplingGrid.from_image(out).world()[..., 0]
    assert (out.as_tensor()[0].double() - rows)[2:-2].abs().max() < 1e-4  # the ramp ends at the border


def test_a_multiple_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="k is 0, expected finite numbers above 0"):
        PadToMultipled("image", 0)
