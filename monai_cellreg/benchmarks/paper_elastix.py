"""elastix with the settings that the paper of DIRNet compares with."""

from __future__ import annotations

from ..baselines import Elastix

__all__ = ["PAPER_ELASTIX", "paper_elastix"]

PAPER_ELASTIX = "elastix-paper"
"""Its name beside ``elastix`` of the table of methods, which has other stages and another metric."""

SEED = 121212  # elastix's own


def paper_elastix(control_spacing_vox: int, *, threads: int | None = None) -> Elastix:
    """One B-spline stage: correlation of the images, two resolutions (half and full) of 100 iterations each.

    What the paper leaves open is as in elastix's own B-spline map: its optimiser, 2048 random samples, and a grid that
    is coarser by the root of two at the first resolution.

    Args:
        control_spacing_vox: distance of the control points in voxels at the last resolution; the paper gives elastix a
            grid like that of its network, 16 for hearts, and 4 for digits.
        threads: number of threads; elastix's choice when omitted.

    References:
        de Vos et al., End-to-end unsupervised deformable image registration with a convolutional neural network,
        DLMIA 2017, section 4.2.
    """
    stage = {
        "Transform": ["BSplineTransform"],
        "Metric": ["AdvancedNormalizedCorrelation"],
        "Registration": ["MultiResolutionRegistration"],
        "NumberOfResolutions": ["2"],
        "MaximumNumberOfIterations": ["100"],
        "Optimizer": ["AdaptiveStochasticGradientDescent"],
        "AutomaticParameterEstimation": ["true"],
        "NumberOfSamplesForExactGradient": ["4096"],
        "FinalGridSpacingInVoxels": [str(control_spacing_vox)],
        "GridSpacingSchedule": ["1.4142135623730951", "1"],
        "FixedImagePyramid": ["FixedSmoothingImagePyramid"],
        "MovingImagePyramid": ["MovingSmoothingImagePyramid"],
        "ImageSampler": ["RandomCoordinate"],
        "NumberOfSpatialSamples": ["2048"],
        "NewSamplesEveryIteration": ["true"],
        "Interpolator": ["LinearInterpolator"],
        "FinalBSplineInterpolationOrder": ["3"],
    }
    return Elastix(stages=[stage], seed=SEED, threads=threads)
