"""Registration as MONAI transforms, alone and in ``Compose``."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, set_track_meta
from monai.networks.blocks import Warp
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    Flipd,
    LoadImaged,
    Orientationd,
    SaveImage,
    ScaleIntensityd,
    Spacingd,
)

import monai_cellreg as mc
from monai_cellreg.engines import GuideKeys, RegisteredKeys, RegisterPair, RegisterPaird
from monai_cellreg.engines.instance import AutoRegistration, AutoSettings, LinearSettings
from monai_cellreg.geometry import AffineTransform, Pair, RegisteredTransform, SamplingGrid, resample_image

Turned = Callable[[int, float], np.ndarray]
SHIFT = [3.0, -2.0, 1.5]
AFFINE = AutoRegistration(AutoSettings(LinearSettings(sizes=(32,), iterations=(60,)), deformable=None))


class Shifted:
    """A method that answers a fixed shift of the world and keeps the pair that it was given."""

    def register(self, pair: Pair) -> AffineTransform:
        self.pair = pair
        return AffineTransform.translation(SHIFT[: pair.fixed_grid.spatial_dims])


def scene(points: np.ndarray) -> np.ndarray:
    """Values at world points (..., D): bright spots on dark ground."""
    random = np.random.default_rng(0)
    values = np.zeros(points.shape[:-1])
    for _ in range(60):
        centre, width = random.uniform(-16, 16, points.shape[-1]), random.uniform(1.5, 4)
        values += random.uniform(0.3, 1) * np.exp(-((points - centre) ** 2).sum(-1) / (2 * width**2))
    return values


def centred(shape: tuple[int, ...], linear: np.ndarray) -> np.ndarray:
    """Affine of a grid whose centre lies at the origin of the world."""
    affine = np.eye(len(shape) + 1)
    affine[:-1, :-1] = linear
    affine[:-1, -1] = -linear @ ((np.array(shape) - 1) / 2)
    return affine


def made(shape: tuple[int, ...], linear: np.ndarray, shift: list[float] | None = None, **meta: Any) -> MetaTensor:
    """What is seen of the scene, (1, *shape), on a grid about the origin."""
    affine = centred(shape, linear)
    points = SamplingGrid(shape, affine).world().numpy() - np.array(shift or [0.0] * len(shape))
    image = MetaTensor(torch.tensor(scene(points)[None] * 900 + 20).float(), affine=torch.tensor(affine))
    image.meta.update(space="RAS", **meta)
    return image


@pytest.fixture
def data(spatial_dims: int, turned: Turned) -> dict[str, Any]:
    """A pair on askew grids; the scene moves by SHIFT from the fixed to the moving image."""
    shapes = {2: ((40, 48), (50, 37)), 3: ((22, 26, 20), (24, 18, 30))}[spatial_dims]
    spacing, other = (1.0, 0.8, 1.1)[:spatial_dims], (0.8, 1.2, 0.9)[:spatial_dims]
    fixed = made(shapes[0], turned(spatial_dims, 0.2) * spacing, filename_or_obj="day0.nii", tag="fixed")
    moving = made(
        shapes[1], turned(spatial_dims, -0.3) * other, SHIFT[:spatial_dims], filename_or_obj="day1.nii", tag="moving"
    )
    label = MetaTensor((moving > 300).to(torch.uint8) * 7, meta=dict(moving.meta))
    return {"fixed": fixed, "moving": moving, "label": label, "name": "case 3"}


def shift_error(transform: Any, dims: int) -> float:
    points = torch.tensor(np.random.default_rng(1).uniform(-8, 8, (50, dims)))
    return float((transform.points(points) - points - torch.tensor(SHIFT[:dims])).norm(dim=1).max())


def test_pair_is_registered_and_placed_on_the_fixed_grid(data: dict[str, Any], spatial_dims: int) -> None:
    fixed, moving = data["fixed"], data["moving"]
    before = [(x.as_tensor().clone(), copy.deepcopy(x.meta)) for x in (fixed, moving)]
    warped, transform = RegisterPair(AFFINE)(fixed, moving)
    assert isinstance(transform, RegisteredTransform) and shift_error(transform, spatial_dims) < 0.8
    assert warped.shape == fixed.shape and warped.dtype == moving.dtype
    assert torch.equal(warped.affine, fixed.affine)
    assert warped.meta["filename_or_obj"] == "day1.nii" and warped.meta["tag"] == "moving"
    known = AffineTransform.translation(SHIFT[:spatial_dims])
    expected = resample_image(moving, known, SamplingGrid.from_image(fixed))
    assert float((warped - expected).abs().mean()) < 0.02 * float(moving.max())
    for image, (values, meta) in zip((fixed, moving), before, strict=True):
        assert torch.equal(image.as_tensor(), values)
        assert meta.keys() == image.meta.keys() and meta["tag"] == image.meta["tag"]
        assert torch.equal(meta["affine"], image.meta["affine"])


def test_metadata_of_place_are_the_fixed_ones(data: dict[str, Any]) -> None:
    fixed, moving = data["fixed"], data["moving"]
    moving.meta.update(original_affine=moving.affine.numpy(), spatial_shape=np.array(moving.shape[1:]))
    fixed.meta["spatial_shape"] = np.array([9, 9])
    warped, _ = RegisterPair(Shifted())(fixed, moving)
    assert "original_affine" not in warped.meta and warped.meta["spatial_shape"].tolist() == [9, 9]
    assert warped.meta["spatial_shape"] is not fixed.meta["spatial_shape"]
    assert "original_affine" in moving.meta


def test_slice_keeps_its_place_in_the_volume() -> None:
    """MONAI keeps 4x4 matrices for 2D images."""
    place = torch.diag(torch.tensor([2.0, 3.0, 5.0, 1.0], dtype=torch.float64))
    place[:3, 3] = torch.tensor([10.0, 20.0, 30.0])
    images = [MetaTensor(torch.rand(1, 12, 14), affine=place, meta={"space": "RAS"}) for _ in range(2)]
    out = RegisterPaird(outputs=RegisteredKeys(ddf_key="ddf"), method=Shifted())(
        dict(zip(("fixed", "moving"), images, strict=True))
    )
    assert torch.equal(out["moving"].affine, place) and torch.equal(out["ddf"].affine, place)


@pytest.mark.parametrize("spatial_dims", [2], indirect=True)
def test_map_is_that_of_register(data: dict[str, Any]) -> None:
    given = RegisterPair(AFFINE)(data["fixed"], data["moving"])
    result = mc.register(data["fixed"], data["moving"], method=AFFINE)
    points = given[1].fixed_grid.world().flatten(0, -2)
    assert torch.equal(given[1].points(points), result.transform.points(points))
    assert float((given[0] - result.warped).abs().max()) < 1e-4


@pytest.mark.parametrize("spatial_dims", [2], indirect=True)
def test_array_and_dictionary_agree_and_auto_is_the_default(data: dict[str, Any]) -> None:
    assert isinstance(RegisterPair().method, AutoRegistration) and isinstance(RegisterPaird().method, AutoRegistration)
    warped, transform = RegisterPair(AFFINE)(data["fixed"], data["moving"])
    out = RegisterPaird(method=AFFINE)(data)
    assert torch.equal(out["moving"].as_tensor(), warped.as_tensor())
    points = transform.fixed_grid.world().flatten(0, -2)
    assert torch.equal(out["transform"].points(points), transform.points(points))
    assert set(out) == {*data, "transform"} and set(data) == {"fixed", "moving", "label", "name"}
    assert out["fixed"] is data["fixed"] and out["name"] == "case 3"


def test_labels_move_with_images_by_the_nearest(data: dict[str, Any], spatial_dims: int) -> None:
    register = RegisterPaird(label_keys="label", method=Shifted())
    out = register(data)
    assert out["label"].dtype == torch.uint8 and set(out["label"].unique().tolist()) == {0, 7}
    assert torch.equal(out["label"].affine, data["fixed"].affine)
    grids = [SamplingGrid.from_image(data[key]) for key in ("fixed", "moving")]
    world = grids[0].world().numpy() + SHIFT[:spatial_dims]
    place = (world - grids[1].affine[:-1, -1]) @ np.linalg.inv(grids[1].affine[:-1, :-1]).T
    whole = np.round(place).astype(int)
    inside = ((place > -0.5) & (place < np.array(grids[1].shape) - 0.5)).all(-1)
    wanted = data["label"].numpy()[0][tuple(np.moveaxis(np.where(inside[..., None], whole, 0), -1, 0))] * inside
    assert 0.2 < inside.mean() < 1
    assert (out["label"][0].numpy() != wanted).mean() < 2e-3  # rounding of coordinates halfway
    plain = register({**data, "label": data["label"].as_tensor()})  # it lies where its image lies
    assert torch.equal(plain["label"].as_tensor(), out["label"].as_tensor())


def test_labels_end_where_the_moving_image_ends() -> None:
    image, label = torch.rand(1, 12, 14), torch.full((1, 12, 14), 5)
    out = RegisterPaird(label_keys=["label"], method=Shifted())({"fixed": image, "moving": image, "label": label})
    assert torch.equal(out["label"][0, :9, 2:].as_tensor(), torch.full((9, 12), 5))
    assert not out["label"][0, 9:].any() and not out["label"][0, :, :2].any()


def test_field_is_the_one_of_monai(data: dict[str, Any], spatial_dims: int) -> None:
    out = RegisterPaird(outputs=RegisteredKeys("_warped", None, "ddf", "why"), method=AFFINE)(data)
    assert set(out) == {*data, "moving_warped", "ddf", "why"}
    assert out["moving"] is data["moving"]
    ddf = out["ddf"]
    assert ddf.shape == (spatial_dims, *data["fixed"].shape[1:]) and ddf.dtype == torch.float32
    assert torch.equal(ddf.affine, data["fixed"].affine)
    grid = SamplingGrid.from_image(data["fixed"])
    index = grid.index().float() + ddf.as_tensor().movedim(0, -1)
    other = SamplingGrid.from_image(data["moving"])
    expected = other.world_to_index(
        AffineTransform.translation(SHIFT[:spatial_dims]).points(grid.world().flatten(0, -2))
    )
    assert float((index.flatten(0, -2) - expected).abs().max()) < 1.0
    assert out["why"][0].startswith("Affine from the images' own coordinates")
    assert all(isinstance(sentence, str) for sentence in out["why"])


@pytest.mark.filterwarnings("ignore:monai.networks.blocks.Warp")
def test_field_warps_with_monais_own_layer() -> None:
    image = torch.rand(1, 1, 16, 20, generator=torch.Generator().manual_seed(0))
    out = RegisterPaird(outputs=RegisteredKeys(ddf_key="ddf"), method=Shifted())(
        {"fixed": image[0], "moving": image[0]}
    )
    warped = Warp(mode="bilinear", padding_mode="border")(image, out["ddf"].as_tensor()[None])
    assert float((warped[0] - out["moving"].as_tensor()).abs().max()) < 1e-5


def test_guides_reach_the_method(data: dict[str, Any], spatial_dims: int) -> None:
    guides = GuideKeys("fixed_mask", "moving_mask", "fixed_points", "moving_points")
    points = np.arange(3.0 * spatial_dims).reshape(3, spatial_dims)
    data |= {
        "fixed_mask": data["fixed"] > 100,
        "moving_mask": (data["moving"] > 100).numpy(),
        "fixed_points": points,
        "moving_points": torch.tensor(points + 1),
    }
    method = Shifted()
    RegisterPaird(guides=guides, method=method)(data)
    assert torch.equal(method.pair.fixed_mask, data["fixed_mask"].as_tensor())
    assert torch.equal(method.pair.moving_mask, torch.tensor(data["moving_mask"]))
    assert torch.equal(method.pair.fixed_landmarks, torch.tensor(points))
    assert torch.equal(method.pair.moving_landmarks, torch.tensor(points + 1))
    assert method.pair.fixed_grid.matches(SamplingGrid.from_image(data["fixed"]))


def test_guides_lead_the_default_method(turned: Turned) -> None:
    fixed, moving = made((40, 48), np.eye(2)), made((40, 48), np.eye(2), SHIFT[:2])
    points = np.random.default_rng(0).uniform(-12, 12, (8, 2))
    data = {"fixed": fixed, "moving": moving, "here": points, "there": points + SHIFT[:2]}
    guides = GuideKeys(fixed_landmarks="here", moving_landmarks="there")
    out = RegisterPaird(guides=guides, outputs=RegisteredKeys(account_key="why"), method=AFFINE)(data)
    assert shift_error(out["transform"], 2) < 0.3
    assert any("8 landmarks" in sentence for sentence in out["why"])


@pytest.mark.parametrize("missing", ["fixed", "moving", "label", "mask", "points"])
def test_missing_keys(data: dict[str, Any], missing: str) -> None:
    data |= {"mask": data["fixed"] > 100, "points": np.zeros((1, data["fixed"].ndim - 1))}
    del data[missing]
    settings: dict[str, Any] = {
        "label_keys": "label",
        "guides": GuideKeys(fixed_mask="mask", fixed_landmarks="points"),
        "method": Shifted(),
    }
    with pytest.raises(KeyError, match=f"key '{missing}' is not in the data, which has "):
        RegisterPaird(**settings)(data)
    out = RegisterPaird(**settings, allow_missing_keys=True)(data)
    assert missing not in out
    assert ("transform" in out) == (missing not in ("fixed", "moving"))
    if missing in ("fixed", "moving"):
        assert out.keys() == data.keys() and all(out[key] is data[key] for key in data)


def test_other_numbers_of_keys_and_pairs_that_cannot_be_compared_are_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="keys are \\('a', 'b', 'c'\\); expected two"):
        RegisterPaird(("a", "b", "c"))
    with pytest.raises(ValueError, match="is 2D in frame 'index' but moving is|but moving is 2D in frame 'index'"):
        RegisterPair()(data["fixed"], torch.rand(1, 20, 24))
    with pytest.raises(ValueError, match="^moving is constant \\(3\\)"):
        RegisterPair()(data["fixed"], torch.full_like(data["moving"], 3.0))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """NIfTI files of one scene with different spacing, shape and orientation (the axes of ``moving`` run otherwise)."""
    affines = {
        "fixed": centred((24, 30, 20), np.diag([1.2, 0.9, 1.1])),
        "moving": centred((26, 22, 34), np.array([[0, 0, -0.8], [-1.3, 0, 0], [0, 1.1, 0]])),
    }
    shapes = {"fixed": (24, 30, 20), "moving": (26, 22, 34)}
    paths = {}
    for name, affine in affines.items():
        points = SamplingGrid(shapes[name], affine).world().numpy() - (np.array(SHIFT) if name == "moving" else 0)
        values = scene(points).astype(np.float32)
        paths[name] = str(tmp_path / f"{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(values, affine), paths[name])
        if name == "moving":
            paths["label"] = str(tmp_path / "label.nii.gz")
            nibabel.save(nibabel.Nifti1Image((values > 0.4).astype(np.uint8), affine), paths["label"])
    return paths


KEYS = ["fixed", "moving", "label"]


def test_files_of_different_spacing_and_orientation_in_compose(files: dict[str, str], tmp_path: Path) -> None:
    run = Compose(
        [
            LoadImaged(KEYS),
            EnsureChannelFirstd(KEYS),
            ScaleIntensityd(["fixed", "moving"]),
            RegisterPaird(label_keys="label", method=AFFINE),
        ]
    )
    out = run(dict(files))
    assert shift_error(out["transform"], 3) < 0.3
    assert out["moving"].shape == out["label"].shape == out["fixed"].shape == (1, 24, 30, 20)
    assert Path(out["moving"].meta["filename_or_obj"]).name == "moving.nii.gz"
    inner = (0, *[slice(4, -4)] * 3)
    assert float((out["moving"] - out["fixed"])[inner].abs().max()) < 0.15
    assert set(out["label"].unique().tolist()) == {0, 1}
    assert float(out["fixed"][out["label"] > 0].mean()) > 2 * float(out["fixed"][out["label"] == 0].mean())
    SaveImage(tmp_path / "out", output_postfix="warped", separate_folder=False, print_log=False)(out["moving"])
    written = nibabel.load(tmp_path / "out" / "moving_warped.nii.gz")
    assert written.shape == (24, 30, 20)
    np.testing.assert_allclose(written.affine, nibabel.load(files["fixed"]).affine, atol=1e-5)
    np.testing.assert_allclose(written.get_fdata(), out["moving"][0].numpy(), atol=1e-5)


def test_map_is_the_same_whatever_was_done_to_the_axes(files: dict[str, str]) -> None:
    """World coordinates stay, so a pair that was reoriented and resampled gives the map of the files."""
    load = [LoadImaged(KEYS), EnsureChannelFirstd(KEYS)]
    changed = [
        Orientationd(KEYS, axcodes="LPI", labels=None),
        Spacingd(KEYS, (1.0, 1.0, 1.0), mode=("bilinear",) * 2 + ("nearest",)),
    ]
    maps = [Compose([*load, *extra, RegisterPaird(method=AFFINE)])(dict(files))["transform"] for extra in ([], changed)]
    points = torch.tensor(np.random.default_rng(1).uniform(-8, 8, (50, 3)))
    assert float((maps[0].points(points) - maps[1].points(points)).norm(dim=1).max()) < 0.3
    assert all(shift_error(each, 3) < 0.3 for each in maps)


def test_warped_image_can_be_inverted_as_the_fixed_one(files: dict[str, str]) -> None:
    keys = ["fixed", "moving"]
    prepare = Compose([LoadImaged(keys), EnsureChannelFirstd(keys), Orientationd(keys, axcodes="PIR", labels=None)])
    out = Compose([prepare, RegisterPaird(keys, method=Shifted())])({key: files[key] for key in keys})
    assert torch.equal(out["moving"].affine, out["fixed"].affine)
    back = prepare.inverse(out)
    assert back["fixed"].shape == back["moving"].shape == (1, 24, 30, 20)
    assert torch.equal(back["moving"].affine, back["fixed"].affine)
    np.testing.assert_allclose(back["moving"].affine, nibabel.load(files["fixed"]).affine, atol=1e-5)
    direct = Compose([LoadImaged(keys), EnsureChannelFirstd(keys)])({key: files[key] for key in keys})
    again = resample_image(direct["moving"], out["transform"], SamplingGrid.from_image(direct["fixed"]))
    assert float((back["moving"] - again).abs().max()) < 1e-4


def test_pending_operations_are_executed_first(data: dict[str, Any], spatial_dims: int) -> None:
    flips = [Flipd(["moving", "label"], spatial_axis=0)]
    outs = [
        Compose([*flips, RegisterPaird(label_keys="label", method=Shifted())], lazy=lazy)(dict(data))
        for lazy in (False, True)
    ]
    for key in ("moving", "label"):
        assert not outs[1][key].pending_operations
        assert float((outs[0][key].float() - outs[1][key].float()).abs().mean()) < 0.5
    assert float((outs[1]["moving"] - outs[1]["fixed"])[(0, *[slice(6, -6)] * spatial_dims)].abs().mean()) < 40


def test_arrays_lie_where_their_indices_are() -> None:
    axes = np.indices((30, 36)).astype(float)
    spots = [np.exp(-((axes[0] - r) ** 2 + (axes[1] - c) ** 2) / 30)[None] for r, c in ((14, 16), (17, 14))]
    warped, transform = RegisterPair(AFFINE)(*spots)
    assert isinstance(warped, MetaTensor) and warped.dtype == torch.float64
    np.testing.assert_allclose(transform.points(np.array([[14.0, 16.0]])), [[17, 14]], atol=0.2)
    assert (transform.fixed_grid.frame, warped.meta["space"]) == ("index", "index")


def test_numbers_keep_their_type() -> None:
    stored = (np.random.default_rng(0).random((1, 20, 24)) * 60000).astype(np.uint16)
    warped, _ = RegisterPair(Shifted())(stored, stored)
    assert warped.dtype == torch.uint16
    np.testing.assert_array_equal(warped[0, :-3, 2:].numpy(), stored[0, 3:, :-2])


@pytest.fixture
def untracked() -> Iterator[None]:
    set_track_meta(False)
    yield
    set_track_meta(True)


@pytest.mark.usefixtures("untracked")
def test_no_metadata_where_monai_tracks_none(data: dict[str, Any]) -> None:
    out = RegisterPaird(label_keys="label", outputs=RegisteredKeys(ddf_key="ddf"), method=Shifted())(data)
    assert all(type(out[key]) is torch.Tensor for key in ("moving", "label", "ddf"))
    warped, _ = RegisterPair(Shifted())(data["fixed"], data["moving"])
    assert type(warped) is torch.Tensor and torch.equal(warped, out["moving"])


@pytest.mark.parametrize("spatial_dims", [2], indirect=True)
def test_same_result_every_time_also_in_workers_and_from_a_copy(data: dict[str, Any]) -> None:
    register = RegisterPaird(outputs=RegisteredKeys(transform_key=None, ddf_key="ddf"), method=AFFINE)
    case = {key: data[key] for key in ("fixed", "moving")}
    first = register(case)
    for other in (register, pickle.loads(pickle.dumps(register)), copy.deepcopy(register)):
        assert torch.equal(other(case)["ddf"], first["ddf"])
    loaded = next(iter(DataLoader(Dataset([case], register), num_workers=1)))
    assert torch.equal(loaded["ddf"][0].as_tensor(), first["ddf"].as_tensor())
    assert torch.equal(loaded["moving"][0].as_tensor(), first["moving"].as_tensor())
