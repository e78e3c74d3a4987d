"""Masks and landmarks reach the method as tensors in world coordinates, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

import monai_cellreg as mc
from monai_cellreg.geometry import AffineTransform, Pair, SamplingGrid, SpatialTransform
from monai_cellreg.methods import Known

AFFINES = np.array([[0.5, 0, 3], [0, 0.8, -7], [0, 0, 1]]), np.array([[1.0, 0, 0], [0, 0.4, 2], [0, 0, 1]])


@pytest.fixture
def pair() -> Pair:
    image = torch.rand(1, 20, 30, generator=torch.Generator().manual_seed(0))
    return Pair(image, image, *(SamplingGrid((20, 30), affine, unit="µm") for affine in AFFINES))


def test_masks_of_any_kind(pair: Pair, tmp_path: Path) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[3:9, 4:20] = 255
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    added = Known(fixed_mask=tmp_path / "mask.tif", moving_mask=mask > 0).added_to(pair)
    for found in (added.fixed_mask, added.moving_mask):
        np.testing.assert_array_equal(np.asarray(found[0]) > 0, mask > 0)
    assert pair.fixed_mask is None and added.fixed_landmarks is None


def test_landmarks_are_world_points_and_half_known_rows_are_left_out(pair: Pair) -> None:
    fixed = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 6.0], [7.0, 8.0]])
    moving = [[10, 20], [30, 40], [50, 60], [np.nan, 80]]
    added = Known(fixed_landmarks=fixed, moving_landmarks=moving).added_to(pair)
    assert added.fixed_landmarks.tolist() == [[1, 2], [5, 6]]
    assert added.moving_landmarks.tolist() == [[10, 20], [50, 60]]
    assert added.fixed_landmarks.dtype == torch.float64


@pytest.mark.parametrize(("coordinates", "offset"), [("index", 0.0), ("corner", 0.5)])
def test_files_of_landmarks_are_in_pixels_of_their_images(
    pair: Pair, tmp_path: Path, coordinates: Any, offset: float
) -> None:
    index = np.array([[4.0, 7.0], [12.0, 25.0]])  # row, column
    for name in ("fixed", "moving"):
        rows = "".join(f"{column + offset},{row + offset}\n" for row, column in index)
        (tmp_path / f"{name}.csv").write_text(f"x,y\n{rows}")
    known = Known(
        fixed_landmarks=tmp_path / "fixed.csv", moving_landmarks=tmp_path / "moving.csv", coordinates=coordinates
    )
    added = known.added_to(pair)
    for found, affine in zip((added.fixed_landmarks, added.moving_landmarks), AFFINES, strict=True):
        np.testing.assert_allclose(found, index @ affine[:2, :2].T + affine[:2, 2], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fixed_landmarks": np.zeros((3, 2))}, "moving_landmarks are missing; expected landmarks of both"),
        ({"moving_landmarks": np.zeros((3, 2))}, "fixed_landmarks are missing"),
        ({"coordinates": "pixel"}, "coordinates is 'pixel', expected one of 'index'"),
        ({"fixed_mask": np.zeros((20, 30))}, "fixed_mask is 0 everywhere; expected values above 0"),
        ({"moving_mask": np.ones((20, 31))}, "moving_mask has shape 1x20x31 but its grid is 20x30"),
        (
            {"fixed_landmarks": np.zeros((3, 2)), "moving_landmarks": np.zeros((4, 2))},
            "moving_landmarks has shape 4x2 but fixed_landmarks has shape 3x2",
        ),
        (
            {"fixed_landmarks": np.zeros((3, 3)), "moving_landmarks": np.zeros((3, 3))},
            r"fixed_landmarks has shape \(3, 3\); expected \(N, 2\)",
        ),
        (
            {"fixed_landmarks": np.zeros((3, 2)), "moving_landmarks": np.full((3, 2), np.inf)},
            "moving_landmarks holds 6 of 6 values that are NaN or infinite",
        ),
        (
            {"fixed_landmarks": np.full((3, 2), np.nan), "moving_landmarks": np.zeros((3, 2))},
            "landmarks are 3 rows, none of them known on both sides",
        ),
    ],
)
def test_what_does_not_fit_is_refused(pair: Pair, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Known(**given).added_to(pair)


class Seeing:
    """A method that keeps the pair, and gives an account."""

    def run(self, pair: Pair) -> Any:
        self.pair = pair
        return type("Found", (), {"transform": self.register(pair), "account": ("Looked.",)})()

    def register(self, pair: Pair) -> SpatialTransform:
        return AffineTransform.translation([0.0, 0.0])


def test_register_hands_them_to_the_method_and_keeps_its_account(pair: Pair) -> None:
    method, image = Seeing(), pair.fixed[0].numpy()
    points = np.array([[1.0, 2.0]])
    known = Known(fixed_mask=image > 0.5, fixed_landmarks=points, moving_landmarks=points + 1)
    result = mc.register(image, image, method=method, known=known)
    assert result.account == ("Looked.",) and result.method == "Seeing"
    np.testing.assert_array_equal(method.pair.fixed_mask[0], image > 0.5)
    assert method.pair.moving_landmarks.tolist() == [[2, 3]]


def test_a_method_that_takes_no_guides_is_not_said_to_have_used_them(film: Any) -> None:
    images, points = film.images[:, 0], np.array([[20.0, 20.0]])
    known = Known(moving_mask=images[1] > 0, fixed_landmarks=points, moving_landmarks=points)
    result = mc.register(*images, method="joint", known=known)
    assert result.account == ("The method joint takes no notice of the masks and landmarks.",)
    assert mc.register(*images, method="joint").account == ()


def test_landmarks_lead_the_optimisation_where_the_images_tell_nothing() -> None:
    """Two shifted gratings: any further shift by a period agrees as well; the landmarks say which."""
    row, column = np.indices((64, 80))
    image, moving = (np.sin((row - r) / 2) * np.sin((column - c) / 2) for r, c in ((0, 0), (2, -3)))
    points = np.random.default_rng(0).uniform(20, 40, (8, 2))
    near = np.array([2, -3])
    far = near + [4 * np.pi, -4 * np.pi]
    known = Known(fixed_landmarks=points, moving_landmarks=points + far)
    guided, free = (
        mc.register(image, moving, method="affine", known=k).transform.points(points) for k in (known, None)
    )
    assert np.abs(guided - points - far).max() < 0.5
    assert np.abs(free - points - near).max() < 0.5
