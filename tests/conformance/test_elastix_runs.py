"""What elastix finds is read as the map that elastix applies, from its files and from memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_cellreg.geometry import SpatialTransform, from_elastix, read_transform

pytestmark = pytest.mark.filterwarnings("ignore:builtin type [sS]wig:DeprecationWarning")  # of how itk was built
itk = pytest.importorskip("itk")
Physical = Any
SIZES = {2: (36, 30), 3: (18, 16, 14)}  # x, y(, z)

RUNS: dict[str, tuple[int, list[dict[str, str]]]] = {
    "translation": (2, [{"Transform": "TranslationTransform"}]),
    "euler": (2, [{"Transform": "EulerTransform"}]),
    "similarity": (2, [{"Transform": "SimilarityTransform"}]),
    "affine": (2, [{"Transform": "AffineTransform"}]),
    "spline": (2, [{"Transform": "BSplineTransform"}]),
    "recursive spline of order 2": (
        2,
        [{"Transform": "RecursiveBSplineTransform", "BSplineTransformSplineOrder": "2"}],
    ),
    "chain": (
        2,
        [
            {"Transform": "EulerTransform"},
            {"Transform": "AffineTransform"},
            {"Transform": "BSplineTransform", "BSplineTransformSplineOrder": "1"},
        ],
    ),
    "chain in 3D": (3, [{"Transform": "EulerTransform"}, {"Transform": "BSplineTransform"}]),
    "similarity in 3D": (3, [{"Transform": "SimilarityTransform"}]),
}
SETTINGS = {
    "Registration": "MultiResolutionRegistration",
    "NumberOfResolutions": "1",
    "MaximumNumberOfIterations": "8",
    "Metric": "AdvancedMeanSquares",
    "Optimizer": "AdaptiveStochasticGradientDescent",
    "ImageSampler": "RandomCoordinate",
    "NumberOfSpatialSamples": "200",
    "NumberOfSamplesForExactGradient": "400",
    "FinalGridSpacingInPhysicalUnits": "11",
    "AutomaticTransformInitialization": "true",
    "HowToCombineTransforms": "Compose",
    "WriteResultImage": "false",
    "RandomSeed": "7",
}


@dataclass(frozen=True)
class Found:
    """What a run of elastix leaves.

    Args:
        file: the last file of transform parameters.
        maps: the parameter maps in memory.
        points: physical points of the voxels (N, D).
        displacement: what transformix displaces them by.
    """

    file: Path
    maps: list[Any]
    points: np.ndarray
    displacement: np.ndarray


def blobs(dims: int, shift: float) -> Any:
    """Bright spots on a turned grid, away from the origin."""
    size = SIZES[dims]
    index = np.indices(size[::-1]).reshape(dims, -1)
    rng = np.random.default_rng(0)
    centres = rng.uniform(3, np.array(size[::-1]) - 4, (8, dims)) + shift
    square = ((index[None] - centres[..., None]) ** 2).sum(1)
    image = itk.image_from_array((100 * np.exp(-square / 12).sum(0)).reshape(size[::-1]).astype(np.float32))
    direction = np.eye(dims)
    direction[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    image.SetSpacing((1.1, 0.8, 1.4)[:dims])
    image.SetOrigin((5.0, -7, 3)[:dims])
    image.SetDirection(itk.matrix_from_array(direction))
    return image


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Found]:
    """All runs at once, as loading elastix takes far longer than they do."""
    results = {}
    for name, (dims, stages) in RUNS.items():
        fixed, moving = blobs(dims, 0.0), blobs(dims, 0.9)
        parameters = itk.ParameterObject.New()
        for stage in stages:
            parameters.AddParameterMap({key: [value] for key, value in {**SETTINGS, **stage}.items()})
        folder = tmp_path_factory.mktemp("elastix")
        _, answer = itk.elastix_registration_method(
            fixed, moving, parameters, output_directory=str(folder), number_of_threads=1
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)  # where transformix leaves a file
            field = itk.array_from_image(itk.transformix_deformation_field(moving, answer)).reshape(-1, dims)
        index = np.indices(SIZES[dims][::-1]).reshape(dims, -1)[::-1].T  # x first, as fast as in the field
        direction = itk.array_from_matrix(fixed.GetDirection())
        results[name] = Found(
            folder / f"TransformParameters.{len(stages) - 1}.txt",
            [answer.GetParameterMap(n) for n in range(answer.GetNumberOfParameterMaps())],
            np.array(fixed.GetOrigin()) + (index * np.array(fixed.GetSpacing())) @ direction.T,
            field,
        )
    return results


@pytest.mark.parametrize("name", RUNS)
def test_map_is_that_of_transformix(found: dict[str, Found], physical: Physical, name: str) -> None:
    run = found[name]
    assert np.abs(run.displacement).max() > 0.2
    x = physical.points(run.points)
    maps: list[SpatialTransform] = [
        from_elastix(run.maps, physical.frame),
        read_transform(run.file, physical.frame),
    ]
    for ours in maps:
        moved = physical.points(ours.points(x)) - run.points
        np.testing.assert_allclose(moved, run.displacement, rtol=0, atol=1e-4)  # transformix answers float32
