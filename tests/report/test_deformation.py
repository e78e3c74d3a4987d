import numpy as np
import pytest

from monai_cellreg.report.deformation import (
    LINE_LEVELS,
    ColourScale,
    grid_lines,
    jacobian_determinant,
    jacobian_levels,
    jacobian_scale,
    line_palette,
)


def affine_field(matrix, shape):
    at = np.indices(shape, dtype=float)
    return np.tensordot(np.asarray(matrix) - np.eye(len(shape)), at, axes=1)


@pytest.mark.parametrize("matrix", [[[1.2, 0.3], [0.1, 0.7]], [[1, 0.2, 0], [0, 0.8, 0.1], [0.3, 0, 1.5]], -np.eye(3)])
def test_determinant_of_an_affine_map(matrix):
    field = affine_field(matrix, (5, 6, 7)[: len(matrix)])
    np.testing.assert_allclose(jacobian_determinant(field), np.linalg.det(matrix), atol=1e-5)


@pytest.mark.parametrize(("log2", "limit"), [(0.0, 0.05), (0.06, 0.1), (-0.7, 1.0), (2.5, 3.0), (9.0, 3.0)])
def test_scale_holds_the_change(log2, limit):
    assert jacobian_scale(np.full((4, 4), 2.0**log2)).limit_log2 == limit


def test_scale_says_factors():
    assert ColourScale(1.0).ticks == [(0.0, "×0.5"), (0.25, "×0.707"), (0.5, "×1"), (0.75, "×1.41"), (1.0, "×2")]


def test_levels_are_logarithmic_and_folds_apart():
    scale = ColourScale(1.0)
    levels = jacobian_levels(np.array([0.25, 0.5, 1.0, 2.0, 0.0, -3.0]), scale)
    last = len(scale.palette) - 1
    assert levels.tolist() == [0, 0, round(0.5 * (last - 1)), last - 1, last, last]
    assert scale.palette[last].tolist() == [0, 0, 0, 255]
    less, more = (scale.palette[k].astype(int) for k in (0, last - 1))
    assert less[2] > less[1] and more[0] > more[2]  # purple shrinks, orange grows


def dark_rows(picture):
    """Rows and columns in which a line runs through."""
    opaque = picture >= LINE_LEVELS - 2
    return np.flatnonzero(opaque.all(axis=1)).tolist(), np.flatnonzero(opaque.all(axis=0)).tolist()


def test_lines_of_the_identity_stand_at_their_step():
    assert dark_rows(grid_lines(np.zeros((2, 21, 31)), (5, 10), (21, 31))) == ([0, 5, 10, 15, 20], [5, 15, 25])


def test_lines_move_against_the_displacement():
    """What is read 2 rows below and 3 columns to the right is seen 2 rows higher and 3 columns to the left."""
    field = np.zeros((2, 21, 31)) + np.array([2, 3]).reshape(2, 1, 1)
    assert dark_rows(grid_lines(field, (5, 10), (21, 31))) == ([3, 8, 13, 18], [2, 12, 22])


def test_lines_are_as_wide_in_a_larger_picture():
    picture = grid_lines(np.zeros((2, 21, 21)), (10, 10), (210, 210))
    assert picture.shape == (210, 210) and set(np.flatnonzero(picture[:, 50] > 0).tolist()) <= {
        3,
        4,
        5,
        6,
        104,
        105,
        203,
        204,
        205,
        206,
    }


def test_line_palette_goes_from_transparent_to_opaque():
    assert line_palette()[[0, -1], 3].tolist() == [0, 255] and len(line_palette()) == LINE_LEVELS
