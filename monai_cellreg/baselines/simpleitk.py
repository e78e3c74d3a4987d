"""Registration by SimpleITK: affine, B-spline, demons.

Each begins with a rigid and an affine map. Images are compared by mutual information, so that their modality may
differ; demons compare intensities, after those of the moving image are matched to the fixed one's.

References:
    Mattes et al., PET-CT image registration in the chest using free-form deformations, IEEE TMI 2003.
    Vercauteren et al., Diffeomorphic demons: efficient non-parametric image registration, NeuroImage 2009.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import SimpleITK as sitk

from ..geometry import Pair, SpatialTransform, from_itk
from ..geometry.itk import field_from_itk
from ..utils import check_positive
from .images import centre, control_spacing, itk_images, share_their_place, shrink_factors, shrink_factors_of_both

HISTOGRAM_BINS = 32
SAMPLES = 20_000  # voxels that the mutual information of a level is estimated from
LEARNING_RATE = 5.0  # of a spline's control points in voxels; the line search chooses between nothing and five times it
Levels = list[tuple[sitk.Image, sitk.Image]]


class SimpleITKAffine:
    """An affine map by mutual information, after a rigid one, coarse to fine.

    Labels are not used. Colour images are compared by their luminance.

    Args:
        iterations: at most, at each level.
        seed: of the random samples.
        threads: number of threads; SimpleITK's choice when omitted.
    """

    def __init__(self, *, iterations: int = 200, seed: int = 1, threads: int | None = None) -> None:
        check_positive("iterations", iterations)
        self.iterations, self.seed, self.threads = iterations, seed, threads

    def register(self, pair: Pair) -> SpatialTransform:
        """The map from fixed to moving world points.

        Raises:
            ValueError: for images that SimpleITK cannot use.
            RuntimeError: when SimpleITK fails.
        """
        with _failures_told():
            return from_itk(self._affine(_pyramid(*itk_images(pair))), pair.fixed_grid.frame)

    def _affine(self, levels: Levels) -> sitk.AffineTransform:
        """Rigid and then affine, each at every level."""
        fixed, moving = levels[-1]
        dims = fixed.GetDimension()
        rigid = sitk.Euler2DTransform() if dims == 2 else sitk.Euler3DTransform()
        rigid.SetCenter(centre(fixed))
        if not share_their_place(fixed, moving):
            rigid.SetTranslation([b - a for a, b in zip(centre(fixed), centre(moving), strict=True)])
        self._climb(levels, rigid)
        affine = sitk.AffineTransform(rigid.GetMatrix(), rigid.GetTranslation(), rigid.GetCenter())
        self._climb(levels, affine)
        return affine

    def _climb(self, levels: Levels, transform: sitk.Transform) -> None:
        """Improves a transform level after level."""
        for fixed, moving in levels:
            method = _comparison(self.threads)
            method.SetMetricSamplingPercentage(min(1.0, SAMPLES / fixed.GetNumberOfPixels()), self.seed)
            step = max(levels[-1][0].GetSpacing())  # not of a coarse voxel, with which it leaps past the right place
            method.SetOptimizerAsRegularStepGradientDescent(step, 1e-3 * step, self.iterations)
            method.SetOptimizerScalesFromPhysicalShift()
            method.SetInitialTransform(transform, inPlace=True)
            method.Execute(fixed, moving)


class SimpleITKBSpline(SimpleITKAffine):
    """A cubic B-spline by mutual information, after the affine map.

    Control points are as far apart as there are of them: 16 voxels along an axis of 256.

    Args:
        iterations: at most, at each level, of affine map and spline alike.
        seed: of the random samples.
        threads: number of threads; SimpleITK's choice when omitted.
    """

    def register(self, pair: Pair) -> SpatialTransform:
        """As :meth:`SimpleITKAffine.register`."""
        fixed, moving = itk_images(pair)
        with _failures_told():
            affine = self._affine(_pyramid(fixed, moving))
            spline = self._spline(fixed, moving, affine)
        return from_itk(sitk.CompositeTransform([affine, spline]), pair.fixed_grid.frame)  # the last is applied first

    def _spline(self, fixed: sitk.Image, moving: sitk.Image, affine: sitk.Transform) -> sitk.BSplineTransform:
        """The lattice becomes finer with the images, so that there are always many voxels to a control point."""
        shortest = min(*fixed.GetSize(), *moving.GetSize())  # SimpleITK shrinks all axes alike
        factors = [level for (level,) in shrink_factors([shortest])]
        steps = (factors[0] * step for step in control_spacing(fixed.GetSize()))
        mesh = [max(round(n / step), 1) for n, step in zip(fixed.GetSize(), steps, strict=True)]
        spline = sitk.BSplineTransformInitializer(fixed, mesh)
        method = _comparison(self.threads)
        samples = [min(1.0, SAMPLES * factor ** len(mesh) / fixed.GetNumberOfPixels()) for factor in factors]
        method.SetMetricSamplingPercentagePerLevel(samples, self.seed)
        method.SetShrinkFactorsPerLevel(factors)
        method.SetSmoothingSigmasPerLevel([factor / 2 if factor > 1 else 0.0 for factor in factors])
        method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
        rate = LEARNING_RATE * min(fixed.GetSpacing()) ** 2  # length over (change of the measure over length)
        method.SetOptimizerAsGradientDescentLineSearch(rate, self.iterations, 1e-4, 5)
        method.SetMovingInitialTransform(affine)
        method.SetInitialTransformAsBSpline(spline, inPlace=True, scaleFactors=[factors[0] // f for f in factors])
        method.Execute(fixed, moving)
        return spline


class SimpleITKDemons(SimpleITKAffine):
    """A displacement of each voxel by diffeomorphic demons, after the affine map.

    Args:
        iterations: at most, at each level, of affine map and demons alike.
        smoothing_vox: standard deviation by which the displacements are smoothed after each step, in voxels.
        seed: of the random samples.
        threads: number of threads; SimpleITK's choice when omitted.
    """

    def __init__(
        self, *, iterations: int = 200, smoothing_vox: float = 1.5, seed: int = 1, threads: int | None = None
    ) -> None:
        super().__init__(iterations=iterations, seed=seed, threads=threads)
        check_positive("smoothing_vox", smoothing_vox)
        self.smoothing_vox = smoothing_vox

    def register(self, pair: Pair) -> SpatialTransform:
        """As :meth:`SimpleITKAffine.register`."""
        fixed, moving = itk_images(pair)
        with _failures_told():
            affine = self._affine(_pyramid(fixed, moving))
            near = _resample(moving, fixed, affine)
            field = self._demons(_pyramid(fixed, sitk.HistogramMatching(near, fixed)))
        frame = pair.fixed_grid.frame
        return field_from_itk(field, frame).then(from_itk(affine, frame))

    def _demons(self, levels: Levels) -> sitk.Image:
        """Displacements at the voxels of the fixed image."""
        demons = sitk.DiffeomorphicDemonsRegistrationFilter()
        demons.SetNumberOfIterations(self.iterations)
        demons.SetStandardDeviations(self.smoothing_vox)
        if self.threads is not None:
            demons.SetNumberOfThreads(self.threads)
            demons.SetNumberOfWorkUnits(self.threads)
        field = sitk.Image(levels[0][0].GetSize(), sitk.sitkVectorFloat64)
        field.CopyInformation(levels[0][0])
        for fixed, near in levels:
            field = demons.Execute(fixed, near, _resample(field, fixed))
        return field


def _pyramid(fixed: sitk.Image, moving: sitk.Image) -> Levels:
    """Both images from coarse to fine, as many levels as both allow."""
    factors = shrink_factors_of_both(fixed, moving)
    return [(sitk.BinShrink(fixed, a), sitk.BinShrink(moving, b)) for a, b in factors]


def _comparison(threads: int | None) -> sitk.ImageRegistrationMethod:
    """A registration by mutual information at randomly drawn voxels, still without optimizer and transform."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetInterpolator(sitk.sitkLinear)
    if threads is not None:
        method.SetNumberOfThreads(threads)
        method.SetNumberOfWorkUnits(threads)  # each adds up its own share, so that this decides on the last digits
    return method


def _resample(image: sitk.Image, reference: sitk.Image, transform: sitk.Transform | None = None) -> sitk.Image:
    """An image on the voxels of another, continued from its border."""
    identity = sitk.Transform(image.GetDimension(), sitk.sitkIdentity)
    return sitk.Resample(image, reference, transform or identity, sitk.sitkLinear, 0.0, image.GetPixelID(), True)


@contextmanager
def _failures_told() -> Iterator[None]:
    """Says what SimpleITK's errors mean."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].rpartition("): ")[2]
        raise RuntimeError(
            f"SimpleITK failed: {reason}. Expected images that overlap and show the same; check their places and what "
            "they show, or bring them closer with another method first"
        ) from error
