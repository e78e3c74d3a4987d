"""One call registers arrays, tensors, MetaTensors and files, and answers in kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import gaussian_filter, map_coordinates

import monai_cellreg as mc
from monai_cellreg.data.synthetic_sequence import NucleusSequence, simulate_sequence
from monai_cellreg.geometry import AffineTransform, Pair, SamplingGrid, SpatialTransform

BEND = np.array([[0.98, 0.05, 2.5], [-0.04, 1.03, -3.25]])
TURNED = np.array([[0.4, -0.9, 0, 5], [0.3, 1.2, 0, -40], [0, 0, 1, 0], [0, 0, 0, 1]])


class Told:
    """A method that answers with an affine map of world points."""

    def __init__(self, matrix: Any) -> None:
        self.transform = AffineTransform(np.asarray(matrix, dtype=float))

    def register(self, pair: Pair) -> SpatialTransform:
        return self.transform


def shift(rows: float, columns: float) -> Told:
    return Told([[1, 0, rows], [0, 1, columns]])


def smooth(shape: tuple[int, ...] = (40, 56), seed: int = 0) -> np.ndarray:
    return gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3).astype(np.float32)


def index_of(shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, len(shape)).astype(float)


def box(rows: slice, columns: slice, shape: tuple[int, int] = (40, 56)) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[rows, columns] = 3
    return mask


@pytest.mark.parametrize("fixed_shape", [(40, 56), (25, 60)])
def test_warped_is_the_moving_image_read_where_the_map_says(fixed_shape: tuple[int, int]) -> None:
    fixed, moving = smooth(fixed_shape), smooth(seed=1)
    result = mc.register(fixed, moving, method=Told(BEND))
    where = index_of(fixed_shape) @ BEND[:, :2].T + BEND[:, 2]
    expected = map_coordinates(moving, where.T, order=1, mode="nearest").reshape(fixed_shape)
    assert isinstance(result.warped, np.ndarray) and result.warped.dtype == np.float32
    np.testing.assert_allclose(result.warped, expected, rtol=0, atol=1e-5)


def test_warped_agrees_with_the_points_of_the_network_s_map(film: NucleusSequence) -> None:
    fixed, moving = film.images[0, 0], film.images[1, 0]
    result = mc.register(fixed, moving, method="joint")
    where = result.transform.points(index_of(fixed.shape))
    expected = map_coordinates(moving, where.T, order=1, mode="nearest").reshape(fixed.shape)
    np.testing.assert_allclose(result.warped, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "bool", "float16", ">f4", "float64"])
def test_warped_array_has_the_number_type_of_the_moving_one(dtype: str) -> None:
    moving = ((smooth(seed=1) > 0) * 200).astype(dtype)
    result = mc.register(smooth(), moving, method=shift(2, -3))
    assert result.warped.dtype == np.dtype(dtype)
    exact = np.dtype(dtype).kind in "bu"  # else the half-pixel arithmetic rounds
    np.testing.assert_allclose(result.warped[:-2, 3:], moving[2:, :-3], rtol=0, atol=0 if exact else 2e-3)


def test_tensors_and_meta_tensors_give_meta_tensors_on_the_fixed_grid() -> None:
    fixed = MetaTensor(torch.from_numpy(smooth()[None]), affine=torch.from_numpy(TURNED))
    moving = torch.from_numpy((1000 * smooth(seed=1)).astype(np.int16))
    plain = mc.register(smooth(), moving, method=shift(1, 2)).warped
    assert isinstance(plain, MetaTensor) and (plain.shape, plain.dtype) == ((1, 40, 56), torch.int16)
    np.testing.assert_array_equal(plain[0, :-1, :-2].numpy(), moving[1:, 2:].numpy())
    on_grid = mc.register(fixed, MetaTensor(moving[None], affine=torch.from_numpy(TURNED)), method=shift(0, 0)).warped
    assert SamplingGrid.from_image(on_grid).matches(SamplingGrid.from_image(fixed))
    np.testing.assert_array_equal(on_grid[0].numpy(), moving.numpy())


@pytest.mark.parametrize(("channels", "axis"), [(3, -1), (4, -1), (3, 0)])
def test_colour_stays_colour_where_the_caller_has_it(channels: int, axis: int) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (40, 56, channels)).astype(np.uint8)
    result = mc.register(smooth(), np.moveaxis(rgb, -1, axis), method=shift(2, -3))
    warped = np.moveaxis(result.warped, axis, -1)
    assert (warped.shape, warped.dtype) == ((40, 56, 3), np.uint8)
    np.testing.assert_array_equal(warped[:-2, 3:], rgb[2:, :-3, :3])
    first = torch.from_numpy(np.moveaxis(rgb, -1, 0).copy())
    meta = mc.register(smooth(), SamplingGrid((40, 56)).to_image(first), method=shift(2, -3)).warped
    assert isinstance(meta, MetaTensor)
    np.testing.assert_array_equal(meta.numpy(), np.moveaxis(warped, -1, 0))


def test_auto_is_the_default_and_says_what_it_did() -> None:
    """On a section in colour, brought back from a known place."""
    rows, columns = np.indices((70, 90))
    ink = sum(np.exp(-(((rows - r) / 6) ** 2 + ((columns - c) / 8) ** 2)) for r, c in ((20, 30), (45, 60), (30, 70)))
    section = (255 - 200 * np.stack([0.4 * ink, ink, 0.5 * ink], -1).clip(0, 1)).astype(np.uint8)
    result = mc.register(section[:-8, :-6], section[5:-3, 4:-2])
    assert result.method == "auto" and result.pair.moving.shape[0] == 3
    assert len(result.account) >= 2 and all(sentence.endswith(".") for sentence in result.account)
    points = np.array([[20.0, 30.0], [45.0, 60.0]])
    np.testing.assert_allclose(result.transform.points(points), points - [5, 4], rtol=0, atol=0.5)
    assert np.abs(result.warped[8:-8, 8:-8].astype(int) - section[8:-16, 8:-14]).mean() < 3


def test_points_answer_in_kind(film: NucleusSequence) -> None:
    transform = mc.register(film.images[0, 0], film.images[1, 0], method="joint").transform
    points = np.random.default_rng(0).uniform(5, 55, (6, 2))
    expected = transform.points(points)
    assert isinstance(expected, np.ndarray) and (expected.shape, expected.dtype) == ((6, 2), np.float64)
    assert np.abs(expected - points).max() > 0.3
    single = transform.points(points.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=0, atol=1e-4)
    batch = transform.points(np.stack([points, points[::-1]]))
    assert batch.shape == (2, 6, 2)
    np.testing.assert_allclose(batch, [expected, expected[::-1]], rtol=0, atol=1e-12)
    tensor = torch.tensor(points, requires_grad=True)
    answer = transform.points(tensor)
    assert isinstance(answer, torch.Tensor) and answer.requires_grad
    np.testing.assert_allclose(answer.detach().numpy(), expected, rtol=0, atol=1e-12)
    assert transform.points(tensor[None].expand(2, -1, -1)).shape == (2, 6, 2)


def test_displacement_of_any_grid_is_what_the_points_move(film: NucleusSequence) -> None:
    transform = mc.register(film.images[0, 0], film.images[1, 0], method="joint").transform
    grid = SamplingGrid((4, 7), np.array([[8.0, 0, 3], [0, 5, 10], [0, 0, 1]]))
    world = index_of((4, 7)) * [8, 5] + [3, 10]
    expected = (transform.points(world) - world).T.reshape(1, 2, 4, 7)
    np.testing.assert_allclose(transform.displacement(grid).numpy(), expected, rtol=0, atol=1e-9)


def test_same_registration_in_any_world(film: NucleusSequence, tmp_path: Path) -> None:
    """Turned and anisotropic images, as MetaTensors and as NIfTI files, give the map that plain arrays give."""
    fixed, moving = film.images[0, 0, :50], film.images[1, 0, :, :60]
    plain = mc.register(fixed, moving, method="joint").transform
    shifted = TURNED.copy()
    shifted[:2, 3] = -3, 12
    metas, files = [], []
    for name, image, affine in (("fixed", fixed, TURNED), ("moving", moving, shifted)):
        metas.append(MetaTensor(torch.from_numpy(image[None].copy()), affine=torch.from_numpy(affine)))
        files.append(tmp_path / f"{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(image, affine), files[-1])
    index = np.random.default_rng(0).uniform(5, 45, (6, 2))
    world = index @ TURNED[:2, :2].T + TURNED[:2, 3]
    expected = plain.points(index) @ TURNED[:2, :2].T + shifted[:2, 3]
    for pair, precision in ((metas, 1e-6), (files, 1e-3)):
        result = mc.register(*pair, method="joint")
        np.testing.assert_allclose(result.transform.points(world), expected, rtol=0, atol=precision)
        assert result.pair.fixed_grid.frame == "RAS"
        length = np.linalg.norm(result.transform.points(world) - world, axis=1)
        assert result.metrics["max_displacement"] > length.max() > 1


def test_metrics_by_hand() -> None:
    """A box that lies 3 rows lower and 4 columns to the left; spacing 0.5 by 2."""
    fixed, moving = box(slice(10, 20), slice(20, 40)), box(slice(13, 23), slice(16, 36))
    metrics = mc.register(fixed, moving, method=shift(3, -4), fixed_label=fixed, moving_label=moving).metrics
    overlap = (10 - 3) * (20 - 4)
    assert metrics["iou_before"] == pytest.approx(overlap / (2 * 200 - overlap))
    assert metrics["iou_after"] == 1
    assert metrics["ncc_before"] == pytest.approx(np.corrcoef(fixed.ravel(), moving.ravel())[0, 1])
    assert metrics["ncc_after"] == pytest.approx(1)
    assert metrics["mean_displacement"] == pytest.approx(5) and metrics["max_displacement"] == pytest.approx(5)
    assert metrics["folding_fraction"] == 0 and 0 <= metrics["seconds"] < 1
    spaced = [MetaTensor(torch.tensor(x[None]), affine=np.diag([0.5, 2.0, 1.0, 1.0])) for x in (fixed, moving)]
    measured = mc.register(*spaced, method=shift(1.5, -8), fixed_label=fixed, moving_label=moving).metrics
    assert measured["iou_after"] == 1
    assert measured["mean_displacement"] == pytest.approx(np.hypot(1.5, 8))


def test_figures_before_need_a_common_grid() -> None:
    label = box(slice(5, 20), slice(5, 20), (25, 60))
    metrics = mc.register(
        smooth((25, 60)), smooth(), method=shift(0, 0), fixed_label=label, moving_label=box(slice(5, 20), slice(5, 20))
    ).metrics
    assert "ncc_before" not in metrics and "iou_before" not in metrics
    assert metrics["iou_after"] == 1


def test_folding_and_constant_images_are_measured() -> None:
    mirrored = mc.register(smooth(), smooth(seed=1), method=Told([[1, 0, 0], [0, -1, 55]])).metrics
    assert mirrored["folding_fraction"] == 1
    away = mc.register(smooth(), smooth(seed=1), method=shift(500, 0)).metrics  # only the last row is seen
    assert -1 <= away["ncc_after"] <= 1
    flat = np.zeros((40, 56), np.float32)
    assert mc.register(smooth(), flat, method=shift(0, 0)).metrics["ncc_after"] == 0


def blob(row: float, column: float) -> np.ndarray:
    rows, columns = np.indices((96, 128))
    return gaussian_filter((((rows - row) / 20) ** 2 + ((columns - column) / 26) ** 2 < 1).astype(float), 1.5)


@pytest.mark.parametrize("move", [(7, 0), (-7, 0), (0, 9), (0, -9)])
def test_map_leads_from_fixed_to_moving(move: tuple[int, int]) -> None:
    fixed, moving = blob(47, 63), blob(47 + move[0], 63 + move[1])
    result = mc.register(fixed, moving, method="joint")
    found = result.transform.points(np.array([[47.0, 63.0]]))[0] - [47, 63]
    assert found @ np.array(move) > 0.5 * np.dot(move, move)
    assert np.abs(found - move).max() < 5
    assert np.abs(result.warped - fixed).sum() < 0.7 * np.abs(moving - fixed).sum()


def test_overlap_of_simulated_nuclei_rises() -> None:
    before, after = [], []
    for seed in (0, 1, 5):
        film = simulate_sequence(2, size=64, seed=seed)
        labels = {"fixed_label": film.labels[0, 0], "moving_label": film.labels[1, 0]}
        metrics = mc.register(*film.images[:, 0], method="joint", **labels).metrics
        before.append(metrics["iou_before"])
        after.append(metrics["iou_after"])
    assert 0.84 < np.mean(before) < 0.9
    assert np.mean(after) > np.mean(before) + 0.02


@pytest.mark.parametrize("method", ["auto", "joint"])
def test_same_call_twice_gives_the_same(film: NucleusSequence, method: str) -> None:
    images = [image.copy() for image in film.images[:, 0]]
    first, second = (mc.register(*images, method=method) for _ in range(2))
    np.testing.assert_array_equal(first.warped, second.warped)
    points = index_of((64, 64))
    np.testing.assert_array_equal(first.transform.points(points), second.transform.points(points))
    for image, kept in zip(images, film.images[:, 0], strict=True):
        np.testing.assert_array_equal(image, kept)


def test_volumes_by_a_method_that_takes_them() -> None:
    fixed, moving = smooth((12, 20, 26)), smooth((12, 20, 26), seed=1)
    result = mc.register(fixed, moving, method=Told(np.column_stack([np.eye(3), [1, -2, 3]])))
    np.testing.assert_allclose(result.warped[:-1, 2:, :-3], moving[1:, :-2, 3:], rtol=0, atol=1e-5)
    with pytest.raises(
        ValueError, match=r"fixed has shape \(1, 12, 20, 26\); expected one or three channels and 2 axes"
    ):
        mc.register(fixed, moving, method="joint")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "jont"}, "method is 'jont', expected one of 'auto', .*; did you mean 'joint'"),
        ({"moving": np.zeros((40, 56))}, r"moving is constant \(0\); expected an image with something to align"),
        ({"moving": np.zeros((40, 56, 3))}, r"moving is constant \(0\); expected an image with something to align"),
        (
            {"fixed_label": np.zeros((40, 56, 3), int)},
            r"fixed_label is a ndarray of shape \(40, 56, 3\); expected labels",
        ),
        (
            {"moving": smooth((9, 40, 56))},
            "fixed is 2D in frame 'index' but moving is 3D .* expected both of the same",
        ),
        (
            {"moving": MetaTensor(torch.from_numpy(smooth()[None]), affine=torch.from_numpy(TURNED))},
            "fixed is 2D in frame 'index' but moving is 2D in frame 'RAS'; expected .* the same dimension and frame",
        ),
        ({"fixed_label": np.zeros((20, 20), int)}, "fixed_label has shape 1x20x20 but its grid is 40x56; expected"),
        ({"moving_label": np.zeros((56, 40), int)}, "moving_label has shape 1x56x40 but its grid is 40x56; expected"),
        ({"fixed": "missing.tif"}, "path 'missing.tif' does not exist; expected an image file"),
    ],
)
def test_bad_input_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mc.register(**{"fixed": smooth(), "moving": smooth(seed=1), **changes})
