import base64
import io

import numpy as np
import pytest
from PIL import Image

from monai_cellreg.report.deformation import ColourScale
from monai_cellreg.report.planes import deformation_planes, image_planes, upright, upright_order


def pictures(mosaic, count):
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(mosaic.uri.split(",", 1)[1]))))
    h, w = mosaic.height, mosaic.width
    cells = (divmod(k, mosaic.columns) for k in range(count))
    return [sheet[r * h : r * h + h, c * w : c * w + w] for r, c in cells]


def test_slices_of_a_volume_along_each_axis():
    volume = np.random.default_rng(0).integers(0, 255, (5, 6, 7)).astype(np.uint8)
    planes = image_planes({"fixed": volume}, (2.0, 1.0, 0.5), anatomical=False)
    assert [p.name for p in planes] == ["along axis 0", "along axis 1", "along axis 2"]
    assert [p.aspect for p in planes] == pytest.approx([3.5 / 6, 3.5 / 10, 6 / 10])
    for axis, plane in enumerate(planes):
        assert plane.slices == tuple(range(volume.shape[axis])) and plane.start == (volume.shape[axis] - 1) // 2
        for k, picture in enumerate(pictures(plane.layers["fixed"], len(plane.slices))):
            np.testing.assert_array_equal(picture, volume.take(k, axis))


def test_large_images_are_reduced_with_a_note():
    (plane,) = image_planes({"fixed": np.zeros((600, 2400), np.uint8)}, (1.0, 1.0), anatomical=False)
    mosaic = plane.layers["fixed"]
    assert (mosaic.height, mosaic.width) == (300, 1200) and plane.aspect == 4
    assert plane.note == "shown at 1200 × 300 of 2400 × 600 pixels"


def test_many_slices_are_thinned_evenly():
    plane = image_planes({"fixed": np.zeros((100, 4, 4), np.uint8)}, (1.0,) * 3, anatomical=False)[0]
    assert plane.slices[0] == 0 and plane.slices[-1] == 99 and len(plane.slices) == 32
    assert set(np.diff(plane.slices)) <= {3, 4}


def test_upright_turns_any_orientation_to_one():
    """A head whose top, front and right are marked is seen alike, however its file stores the axes."""
    seen = {"S": 0, "I": 1, "A": 2, "P": 3, "R": 4, "L": 5}
    for orientation in ("RAS", "LPS", "PIR", "SLA"):
        volume = np.zeros((1, 4, 5, 6), int)
        sizes = volume.shape[1:]
        for axis, toward in enumerate(orientation):
            end = [0, 2, 2, 2]
            end[axis + 1] = sizes[axis] - 1
            volume[tuple(end)] = 1 + seen[toward]
        turned = upright(volume, orientation)[0]
        down, back, right = (np.argwhere(turned == 1 + seen[k]) for k in ("I", "P", "R"))
        for axis, found, opposite in ((0, down, "S"), (1, back, "A"), (2, right, "L")):
            other = np.argwhere(turned == 1 + seen[opposite])
            assert all(f[axis] == turned.shape[axis] - 1 for f in found), orientation
            assert all(f[axis] == 0 for f in other) or not len(other), orientation
            assert len(found) or len(other)


@pytest.mark.parametrize("orientation", ["RAS", "LIP", "RA", "LP"])
def test_upright_vectors_still_point_to_the_same_voxels(orientation):
    rng = np.random.default_rng(1)
    dims = len(orientation)
    shape = (4, 5, 6)[:dims]
    image, at = rng.normal(size=(1, *shape)), np.indices(shape)
    target = np.stack([rng.integers(0, n, shape) for n in shape])
    read = image[0][tuple(target)]
    field = upright((target - at).astype(float), orientation, vectors=True)
    turned = upright(image, orientation)[0]
    index = (np.indices(turned.shape) + field).astype(int)
    np.testing.assert_array_equal(turned[tuple(index)], upright(read[None], orientation)[0])
    assert turned.shape == tuple(shape[k] for k in upright_order(orientation, dims))


def test_a_single_folded_voxel_is_not_lost_when_reduced():
    determinant = np.ones((2000, 1500), np.float32)
    determinant[1001, 33] = -0.5
    scale = ColourScale(1.0)
    (plane,) = deformation_planes(np.zeros((2, 2000, 1500)), determinant, scale, (1.0, 1.0), anatomical=False)
    (levels,) = pictures(plane.layers["jacobian"], 1)
    assert levels.shape == (1200, 900)
    found = np.argwhere(levels == len(scale.palette) - 1)
    np.testing.assert_allclose(found, [[1001 * 0.6, 33 * 0.6]], atol=1)


def test_grid_of_a_volume_is_square_in_the_world():
    shape, spacing = (6, 12, 24), (4.0, 2.0, 1.0)
    planes = deformation_planes(np.zeros((3, *shape)), np.ones(shape), ColourScale(1.0), spacing, anatomical=False)
    for plane, count in zip(planes, shape, strict=True):
        assert plane.layers["grid"].height == plane.layers["grid"].width  # 24 world units along each axis
        picture = pictures(plane.layers["grid"], count)[0]
        np.testing.assert_array_equal(picture, picture.T)
