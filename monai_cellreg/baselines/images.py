"""A pair as the classical programs take it: grey ITK images in physical space, and how coarse they may become."""

from __future__ import annotations

from collections.abc import Sequence

import SimpleITK as sitk

from ..geometry import Pair
from ..geometry.itk import image_to_itk
from ..transforms.grey import to_grey
from ..utils import check_finite, format_shape

FEWEST_VOXELS = 4  # along an axis: what ITK's splines and recursive filters need
COARSEST_VOXELS = 8  # that a level of a pyramid leaves along an axis
MOST_LEVELS = 4


def itk_images(pair: Pair) -> tuple[sitk.Image, sitk.Image]:
    """The fixed and the moving image, grey and float32; colour becomes its luminance.

    Raises:
        ValueError: for an image with values that are not finite, of one value only, with fewer than 4 voxels along an
            axis, with other than 1 or 3 channels, or on a sheared grid.
    """
    images = []
    for name, image, grid in (("fixed", pair.fixed, pair.fixed_grid), ("moving", pair.moving, pair.moving_grid)):
        check_finite(name, image)
        if min(grid.shape) < FEWEST_VOXELS:
            raise ValueError(
                f"{name} has the size {format_shape(grid.shape)}; expected at least {FEWEST_VOXELS} voxels along each "
                "axis. Drop an axis of one voxel, or give a larger image"
            )
        grey = to_grey(image)
        if bool(grey.min() == grey.max()):
            raise ValueError(
                f"{name} has the value {float(grey.min()):g} everywhere; expected an image with contrast. Check that "
                "the right file, page or channel was read"
            )
        images.append(image_to_itk(grey, grid))
    return images[0], images[1]


def share_their_place(fixed: sitk.Image, moving: sitk.Image) -> bool:
    """Whether the centre of each image lies in the other: then their places are a start, otherwise only their centres.

    Example:
        >>> near, far = sitk.Image(9, 9, sitk.sitkUInt8), sitk.Image(9, 9, sitk.sitkUInt8)
        >>> far.SetOrigin((5, 0))
        >>> share_their_place(near, near), share_their_place(near, far)
        (True, False)
    """
    for image, other in ((fixed, moving), (moving, fixed)):
        index = other.TransformPhysicalPointToContinuousIndex(centre(image))
        if not all(-0.5 <= i <= n - 0.5 for i, n in zip(index, other.GetSize(), strict=True)):
            return False
    return True


def centre(image: sitk.Image) -> tuple[float, ...]:
    """The physical point in the middle of an image."""
    return image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()])


def shrink_factors(size: Sequence[int]) -> list[tuple[int, ...]]:
    """How much coarser each axis is at each level of a pyramid: powers of two, the last level as fine as the image.

    A short axis stays fine while a long one becomes coarse.

    Example:
        >>> shrink_factors((256, 70, 20))
        [(8, 8, 2), (4, 4, 2), (2, 2, 2), (1, 1, 1)]
    """
    halvings = [max(n // COARSEST_VOXELS, 1).bit_length() - 1 for n in size]
    levels = min(max(halvings), MOST_LEVELS - 1)
    return [tuple(2 ** min(h, level) for h in halvings) for level in range(levels, -1, -1)]


def shrink_factors_of_both(fixed: sitk.Image, moving: sitk.Image) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Those of the fixed and of the moving image at each level, as many levels as both allow."""
    factors = [shrink_factors(image.GetSize()) for image in (fixed, moving)]
    levels = min(map(len, factors))
    return list(zip(*(each[-levels:] for each in factors), strict=True))


def control_spacing(size: Sequence[int]) -> list[float]:
    """Distance of the control points of a spline along each axis, in voxels: as many as lie between two of them.

    Example:
        >>> control_spacing((256, 36))
        [16.0, 6.0]
    """
    return [n**0.5 for n in size]
