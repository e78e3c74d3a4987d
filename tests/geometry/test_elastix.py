"""Parameters of elastix, made by hand, move points as the ITK transform of the same numbers does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.interpolate import RBFInterpolator

from monai_cellreg.geometry import (
    AffineTransform,
    BSplineTransform,
    CompositeTransform,
    ThinPlateSplineTransform,
    from_elastix,
    read_transform,
)

Physical = Any
Map = dict[str, list[str]]
CENTRE = [10.0, -4.0, 6.0]


def words(*values: float) -> list[str]:
    return [repr(float(value)) for value in values]


def parameter_map(dims: int, kind: str, numbers: list[float], more: Map | None = None) -> Map:
    return {
        "Transform": [kind],
        "NumberOfParameters": [str(len(numbers))],
        "TransformParameters": words(*numbers),
        "InitialTransformParameterFileName": ["NoInitialTransform"],
        "HowToCombineTransforms": ["Compose"],
        "FixedImageDimension": [str(dims)],
        "MovingImageDimension": [str(dims)],
        "UseDirectionCosines": ["true"],
        **(more or {}),
    }


def centred(dims: int, kind: str, numbers: list[float], more: Map | None = None) -> Map:
    return parameter_map(dims, kind, numbers, {"CenterOfRotationPoint": words(*CENTRE[:dims]), **(more or {})})


def translation(dims: int) -> tuple[Map, sitk.Transform]:
    shift = [1.5, -2.0, 3.0][:dims]
    return parameter_map(dims, "TranslationTransform", shift), sitk.TranslationTransform(dims, shift)


def euler(dims: int) -> tuple[Map, sitk.Transform]:
    if dims == 2:
        return centred(2, "EulerTransform", [0.4, 1, 2]), sitk.Euler2DTransform(CENTRE[:2], 0.4, (1, 2))
    expected = sitk.Euler3DTransform(CENTRE, 0.4, 0.1, -0.2, (1, 2, 3))
    return centred(3, "EulerTransform", [0.4, 0.1, -0.2, 1, 2, 3], {"ComputeZYX": ["false"]}), expected


def euler_zyx(dims: int) -> tuple[Map, sitk.Transform]:
    parameters, expected = euler(dims)
    if dims == 3:
        expected.SetComputeZYX(True)
    return {**parameters, "ComputeZYX": ["true"]}, expected


def similarity(dims: int) -> tuple[Map, sitk.Transform]:
    if dims == 2:
        expected = sitk.Similarity2DTransform(1.2, 0.3, (2, -1), CENTRE[:2])
        return centred(2, "SimilarityTransform", [1.2, 0.3, 2, -1]), expected
    versor = [0.1, -0.2, 0.15]
    expected = sitk.Similarity3DTransform(1.2, [*versor, np.sqrt(1 - np.dot(versor, versor))], (2, -1, 3), CENTRE)
    return centred(3, "SimilarityTransform", [*versor, 2, -1, 3, 1.2]), expected


def affine(dims: int) -> tuple[Map, sitk.Transform]:
    matrix = (np.eye(dims) + 0.05 * np.arange(dims * dims).reshape(dims, dims)).ravel().tolist()
    shift = [1.5, -2.0, 3.0][:dims]
    return centred(dims, "AffineTransform", matrix + shift), sitk.AffineTransform(matrix, shift, CENTRE[:dims])


def bspline(dims: int, *, order: int = 3, first: int = 0, kind: str = "BSplineTransform") -> tuple[Map, sitk.Transform]:
    """On a turned grid; elastix writes its direction column after column, and may count its points from another one."""
    size, spacing = [13, 12, 11][:dims], [7.0, 6.0, 9.0][:dims]
    direction = np.eye(dims)
    direction[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    origin = 7.5 - direction @ ((np.array(size) - 1) / 2 * spacing)  # its centre is that of the points
    expected = sitk.BSplineTransform(dims, order)
    expected.SetFixedParameters([*size, *origin, *spacing, *direction.ravel()])
    numbers = np.random.default_rng(1).uniform(-3, 3, expected.GetNumberOfParameters()).tolist()
    expected.SetParameters(numbers)
    shifted = origin - direction @ (np.array(spacing) * first)
    more = {
        "BSplineTransformSplineOrder": [str(order)],
        "UseCyclicTransform": ["false"],
        "GridSize": [str(n) for n in size],
        "GridIndex": [str(first)] * dims,
        "GridSpacing": words(*spacing),
        "GridOrigin": words(*shifted),
        "GridDirection": words(*direction.T.ravel()),
    }
    return parameter_map(dims, kind, numbers, more), expected


KINDS: dict[str, Callable[[int], tuple[Map, sitk.Transform]]] = {
    "translation": translation,
    "euler": euler,
    "euler zyx": euler_zyx,
    "similarity": similarity,
    "affine": affine,
    "spline": bspline,
    "spline of order 1": lambda dims: bspline(dims, order=1),
    "spline of order 2": lambda dims: bspline(dims, order=2),
    "spline from another index": lambda dims: bspline(dims, first=-2),
    "recursive spline": lambda dims: bspline(dims, kind="RecursiveBSplineTransform"),
}


def thin_plate(dims: int) -> tuple[Map, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    landmarks = rng.uniform(0, 20, (9, dims))
    targets = landmarks + rng.uniform(-2, 2, landmarks.shape)
    more = {
        "SplineKernelType": ["ThinPlateSpline"],
        "SplineRelaxationFactor": ["0"],
        "FixedImageLandmarks": words(*landmarks.ravel()),
    }
    return parameter_map(dims, "SplineKernelTransform", targets.ravel().tolist(), more), landmarks, targets


def drawn(dims: int) -> np.ndarray:
    """Physical points in the valid region of the spline."""
    return np.random.default_rng(0).uniform(0, 15, (1000, dims))


def as_text(parameters: Map) -> str:
    """A map as elastix writes it: sorted, words in quotes, numbers without."""
    lines = []
    for key, values in sorted(parameters.items()):
        bare = all(value.lstrip("-").replace(".", "").replace("e-", "").isdigit() for value in values)
        lines.append(f"({key} {' '.join(values if bare else [f'{chr(34)}{value}{chr(34)}' for value in values])})")
    return "\n".join(["// made by hand", *lines, "", '(Resampler "DefaultResampler") // the rest', ""])


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_move_points_as_itk(tmp_path: Path, physical: Physical, spatial_dims: int, kind: str) -> None:
    parameters, expected = KINDS[kind](spatial_dims)
    x = physical.points(drawn(spatial_dims))
    (tmp_path / "TransformParameters.0.txt").write_text(as_text(parameters))
    in_memory = from_elastix([parameters], physical.frame)
    from_file = read_transform(tmp_path / "TransformParameters.0.txt", physical.frame)
    assert isinstance(in_memory, BSplineTransform if "spline" in kind else AffineTransform)
    for ours in (in_memory, from_file):
        np.testing.assert_allclose(ours.points(x), physical.moved(expected, x), rtol=0, atol=1e-9)
        assert np.abs(ours.points(x) - x).max() > 1


def test_thin_plate_is_that_of_scipy(physical: Physical, spatial_dims: int) -> None:
    parameters, landmarks, targets = thin_plate(spatial_dims)
    if spatial_dims == 2:  # where elastix has two names for it
        other = from_elastix([{**parameters, "SplineKernelType": ["ThinPlateR2LogRSpline"]}], physical.frame)
        assert torch.equal(other.coefficients, from_elastix([parameters], physical.frame).coefficients)
    ours, x = from_elastix([parameters], physical.frame), drawn(spatial_dims)
    kernel = "thin_plate_spline" if spatial_dims == 2 else "linear"
    expected = RBFInterpolator(landmarks, targets, kernel=kernel, degree=1)(x)
    assert isinstance(ours, ThinPlateSplineTransform)
    np.testing.assert_allclose(physical.points(ours.points(physical.points(x))), expected, rtol=0, atol=1e-8)


def written_chain(folder: Path, dims: int, name: str) -> list[Map]:
    """Three maps as files, of which each names the one before it as ``name`` says."""
    maps = [affine(dims)[0], euler(dims)[0], bspline(dims)[0]]
    for n, parameters in enumerate(maps):
        if n:
            maps[n] = {**parameters, "InitialTransformParameterFileName": [name.format(n - 1)]}
        (folder / f"TransformParameters.{n}.txt").write_text(as_text(maps[n]))
    return maps


@pytest.mark.parametrize(
    "name",
    ["TransformParameters.{}.txt", "{folder}/TransformParameters.{{}}.txt", "/gone/run/TransformParameters.{}.txt"]
    + [r"C:\gone\TransformParameters.{}.txt", ".//TransformParameters.{}.txt"],
    ids=["beside", "absolute", "moved", "from Windows", "relative"],
)
def test_initial_transform_is_applied_first(tmp_path: Path, physical: Physical, spatial_dims: int, name: str) -> None:
    maps = written_chain(tmp_path, spatial_dims, name.format(folder=tmp_path) if "folder" in name else name)
    parts = [make(spatial_dims)[1] for make in (affine, euler, bspline)]
    expected = sitk.CompositeTransform(parts[::-1])  # ITK applies the last first
    x = physical.points(drawn(spatial_dims) / 4)
    from_file = read_transform(tmp_path / "TransformParameters.2.txt", physical.frame)
    for ours in (from_file, from_elastix(maps, physical.frame)):
        assert isinstance(ours, CompositeTransform)
        np.testing.assert_allclose(ours.points(x), physical.moved(expected, x), rtol=0, atol=1e-9)


def test_initial_transform_is_found_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
    (tmp_path / "first" / "TransformParameters.0.txt").write_text(as_text(affine(2)[0]))
    later = {**euler(2)[0], "InitialTransformParametersFileName": ["first/TransformParameters.0.txt"]}  # before 5.1
    del later["InitialTransformParameterFileName"]
    path = tmp_path / "second" / "TransformParameters.0.txt"  # of the same name as its initial transform
    path.write_text(as_text(later))
    with pytest.raises(FileNotFoundError, match="names the initial transform first/TransformParameters.0.txt, which"):
        read_transform(path, "index")
    monkeypatch.chdir(tmp_path)
    expected = from_elastix([affine(2)[0], euler(2)[0]], "index").matrix
    np.testing.assert_allclose(read_transform(path, "index").matrix, expected, rtol=0, atol=1e-12)


def test_chain_without_an_end_is_refused(tmp_path: Path) -> None:
    for n in (0, 1):
        parameters = {**affine(2)[0], "InitialTransformParameterFileName": [f"TransformParameters.{1 - n}.txt"]}
        (tmp_path / f"TransformParameters.{n}.txt").write_text(as_text(parameters))
    with pytest.raises(ValueError, match=r"s\.1\.txt cannot be used: initial transform .*s\.1\.txt is its own initial"):
        read_transform(tmp_path / "TransformParameters.1.txt", "index")


def test_no_cut_of_a_file_is_read_as_another_map(tmp_path: Path) -> None:
    path, whole = tmp_path / "t.txt", as_text(euler(3)[0])
    last = whole.index("(UseDirectionCosines") + len('(UseDirectionCosines "true")')
    for length in range(last):
        path.write_text(whole[:length])
        with pytest.raises(ValueError, match=r"t\.txt (is damaged or foreign|cannot be used)"):
            read_transform(path, "RAS")
    path.write_text(whole[:last])  # what follows says how the image was resampled
    np.testing.assert_array_equal(read_transform(path, "RAS").matrix, from_elastix([euler(3)[0]], "RAS").matrix)


def without(parameters: Map, key: str) -> Map:
    return {k: v for k, v in parameters.items() if k != key}


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ([], r"^transforms have \[\] spatial dimensions; expected at least one map"),
        ([parameter_map(2, "AffineLogTransform", [0.0])], "^Transform is 'AffineLogTransform', expected one of 'Tr"),
        ([parameter_map(4, "TranslationTransform", [0.0] * 4)], "^fixed and moving images have 4 and 4 dimensions, ex"),
        ([{**translation(2)[0], "MovingImageDimension": ["3"]}], "^fixed and moving images have 2 and 3 dimensions"),
        ([translation(2)[0], translation(3)[0]], r"^transforms have \[2, 3\] spatial dimensions"),
        ([{**affine(2)[0], "UseDirectionCosines": ["false"]}], "^UseDirectionCosines is not 'true': elastix has ign"),
        ([without(affine(2)[0], "UseDirectionCosines")], "^UseDirectionCosines is missing among the parameters"),
        ([without(affine(2)[0], "CenterOfRotationPoint")], "^CenterOfRotationPoint is missing among the parameters"),
        ([without(euler(3)[0], "ComputeZYX")], "^ComputeZYX is missing among the parameters"),
        ([without(affine(2)[0], "InitialTransformParameterFileName")], "^InitialTransformParameterFileName is missing"),
        ([{**affine(2)[0], "CenterOfRotationPoint": ["1"]}], "^CenterOfRotationPoint holds 1 numbers, expected 2"),
        ([{**affine(2)[0], "TransformParameters": []}], "^TransformParameters is missing among the parameters"),
        ([{**affine(2)[0], "TransformParameters": ["t.dat"]}], "^TransformParameters begins with 't.dat'; expected nu"),
        ([{**affine(2)[0], "TransformParameters": ["nan"] * 6}], "^TransformParameters holds 6 of 6 values that are N"),
        (
            [{**affine(2)[0], "TransformParameters": ["1"] * 5}],
            "^TransformParameters holds 5 numbers, but this AffineTransform in 2D needs 6; the file is damaged or cut",
        ),
        (
            [{**bspline(2)[0], "TransformParameters": ["1"] * 311}],
            "^TransformParameters holds 311 numbers, but this BSplineTransform in 2D needs 312",
        ),
        ([{**bspline(2)[0], "BSplineTransformSplineOrder": ["0"]}], "^BSplineTransformSplineOrder is '0', expected on"),
        ([{**bspline(2)[0], "UseCyclicTransform": ["true"]}], "^UseCyclicTransform is not 'false'"),
        ([{**thin_plate(3)[0], "SplineKernelType": ["VolumeSpline"]}], "^SplineKernelType is 'VolumeSpline', expected"),
        ([{**thin_plate(3)[0], "SplineKernelType": ["ThinPlateR2LogRSpline"]}], "^SplineKernelType is 'ThinPlateR2"),
        ([{**thin_plate(2)[0], "SplineRelaxationFactor": ["0.1"]}], "^SplineRelaxationFactor is not 0; expected a"),
        (
            [{**thin_plate(2)[0], "FixedImageLandmarks": ["1"] * 16}],
            "^FixedImageLandmarks holds 16 numbers, expected 18",
        ),
        (
            [affine(2)[0], {**bspline(2)[0], "HowToCombineTransforms": ["Add"]}],
            "^HowToCombineTransforms is 'Add', expected 'Compose'; register again",
        ),
        (
            [{**affine(2)[0], "InitialTransformParameterFileName": ["a.txt"]}],
            "^parameter_maps begins with a map whose initial transform is the file a.txt; expected that file's map",
        ),
    ],
)
def test_what_is_no_map_of_ours_is_refused(maps: list[Map], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_elastix(maps, "index")


def test_unknown_frame_is_refused() -> None:
    for parameters in (affine(2)[0], thin_plate(2)[0]):
        with pytest.raises(ValueError, match="^frame is 'LPS', expected one of 'index', 'RAS'"):
            from_elastix([parameters], "LPS")


@pytest.mark.parametrize("line", ["(Size 4", "Size 4)", "(Size 4) (Index 0)", "#Insight Transform File V1.0"])
def test_foreign_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "t.txt"
    path.write_text(line + "\n" + as_text(affine(2)[0]))
    with pytest.raises(ValueError, match=r"t\.txt cannot be used: line 1 of .*t\.txt is '.*'; expected \(Key value"):
        read_transform(path, "index")


def test_parameter_maps_are_not_modified() -> None:
    maps = [affine(2)[0], bspline(2)[0]]
    before = [{key: list(values) for key, values in m.items()} for m in maps]
    from_elastix(maps, "RAS")
    assert maps == before
