"""Maps from the transform parameters of elastix: ``TransformParameters.0.txt`` and its parameter maps in memory."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

import numpy as np

from ..utils import check_choice, check_finite
from .itk import from_itk, physical_axes
from .tps import ThinPlateSplineTransform
from .transform import SpatialTransform, compose

if TYPE_CHECKING:
    import SimpleITK

ParameterMap = Mapping[str, Sequence[str]]
INITIAL_KEYS = ("InitialTransformParameterFileName", "InitialTransformParametersFileName")  # the latter before 5.1
NO_INITIAL = "NoInitialTransform"
BSPLINES = ("BSplineTransform", "RecursiveBSplineTransform")  # one map, computed in two ways
KERNEL = "SplineKernelTransform"
KINDS = ("TranslationTransform", "EulerTransform", "SimilarityTransform", "AffineTransform", *BSPLINES, KERNEL)
THIN_PLATES = {2: ("ThinPlateSpline", "ThinPlateR2LogRSpline"), 3: ("ThinPlateSpline",)}


def from_elastix(parameter_maps: Sequence[ParameterMap], frame: str) -> SpatialTransform:
    """The map of elastix's transform parameters, as itk-elastix answers them.

    Translation, Euler, similarity and affine transforms, B-splines of order 1 to 3 and thin-plate splines are read.
    Outside the valid region of a B-spline, our map continues from the border, where elastix's is the identity.

    Args:
        parameter_maps: applied first to last, which is the order of an ``itk.ParameterObject``
            (``[found.GetParameterMap(n) for n in range(found.GetNumberOfParameterMaps())]``). The file that a later
            one names as its initial transform is taken to be the one before it.
        frame: ``"index"`` or ``"RAS"``: that of the images which were registered.

    Raises:
        ValueError: for another kind of transform, missing or surplus numbers, maps that are added instead of composed,
            no map at all, or an unknown frame.

    Example:
        >>> shift = {"Transform": ["TranslationTransform"], "TransformParameters": ["5", "-2"]}  # x, y
        >>> fixed = {"FixedImageDimension": ["2"], "MovingImageDimension": ["2"], "UseDirectionCosines": ["true"]}
        >>> alone = {"InitialTransformParameterFileName": ["NoInitialTransform"]}
        >>> from_elastix([{**shift, **fixed, **alone}], "index").points(np.zeros((1, 2)))
        array([[-2.,  5.]])
    """
    maps = [dict(parameters.items()) for parameters in parameter_maps]
    if maps and _initial(maps[0]) != NO_INITIAL:
        raise ValueError(
            f"parameter_maps begins with a map whose initial transform is the file {_initial(maps[0])}; expected that "
            "file's map before it. Read it with read_transform, which follows such names"
        )
    for parameters in maps[1:]:
        if _word(parameters, "HowToCombineTransforms") != "Compose":
            raise ValueError(
                f"HowToCombineTransforms is {_word(parameters, 'HowToCombineTransforms')!r}, expected 'Compose'; "
                "register again with this setting, since added displacements are no chain of maps"
            )
    return compose([_single(parameters, frame) for parameters in maps])


def read_elastix(path: str | os.PathLike[str], frame: str) -> SpatialTransform:
    """The map of an elastix file, after that of the initial transform which it names.

    The initial transform is looked for by its name from the folder of the file, then from the working folder as elastix
    does, and then beside the file whatever folder the name tells.

    Args:
        path: such as ``TransformParameters.1.txt``.
        frame: see :func:`from_elastix`.

    Raises:
        FileNotFoundError: when there is no such initial transform.
        ValueError: for a line that is cut or foreign, initial transforms in a circle, and what :func:`from_elastix`
            refuses.
    """
    files, maps = [Path(path).resolve()], [parse_elastix(path)]
    while (name := _initial(maps[0])) != NO_INITIAL:
        folder = files[0].parent
        places = [folder / name, Path(name), folder / PureWindowsPath(name).name]  # which knows either slash
        found = next((place.resolve() for place in places if place.is_file() and place.resolve() != files[0]), None)
        if found is None:
            raise FileNotFoundError(
                f"elastix file {files[0]} names the initial transform {name}, which does not exist; expected it there "
                "or beside the file. Copy it there"
            )
        if found in files:
            raise ValueError(f"initial transform {found} is its own initial transform; expected a chain with an end")
        files.insert(0, found)
        maps.insert(0, parse_elastix(found))
    return from_elastix(maps, frame)


def parse_elastix(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Keys and values of a file of ``(Key value "value")`` lines, with ``//`` before comments.

    Raises:
        ValueError: for any other line.
    """
    parameters = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        content = line.strip()
        entry = re.fullmatch(r'\(\s*(\w+)((?:\s+(?:"[^"]*"|[^\s"()]+))*)\s*\)\s*(?://.*)?', content)
        if entry:
            parameters[entry[1]] = [quoted or bare for quoted, bare in re.findall(r'"([^"]*)"|(\S+)', entry[2])]
        elif content and not content.startswith("//"):
            raise ValueError(
                f"line {number} of {path} is {content[:40]!r}; expected (Key value ...) as elastix writes it. The file "
                "is damaged or cut: copy it anew"
            )
    return parameters


def is_elastix(path: str | os.PathLike[str]) -> bool:
    """Whether a text file holds the transform parameters of elastix."""
    return re.search(rb'^\s*\(\s*Transform\s+"', Path(path).read_bytes(), re.MULTILINE) is not None


def _single(parameters: ParameterMap, frame: str) -> SpatialTransform:
    """The map of one parameter map, without its initial transform."""
    kind = _word(parameters, "Transform")
    check_choice("Transform", kind, KINDS)
    dims = [_word(parameters, f"{image}ImageDimension") for image in ("Fixed", "Moving")]
    if dims not in (["2", "2"], ["3", "3"]):
        raise ValueError(f"fixed and moving images have {' and '.join(dims)} dimensions, expected 2 or 3 for both")
    if _word(parameters, "UseDirectionCosines") != "true":
        raise ValueError(
            "UseDirectionCosines is not 'true': elastix has ignored the direction of the images. Register again with "
            "this setting, or set it in the file if both images have the identity as direction"
        )
    values = _numbers(parameters, "TransformParameters")
    if kind == KERNEL:
        return _thin_plate(parameters, values, physical_axes(frame, int(dims[0])))
    transform = _unset(kind, parameters, int(dims[0]))
    if transform.GetNumberOfParameters() != len(values):
        raise ValueError(
            f"TransformParameters holds {len(values)} numbers, but this {kind} in {dims[0]}D needs "
            f"{transform.GetNumberOfParameters()}; the file is damaged or cut: copy it anew"
        )
    transform.SetParameters(values)
    return from_itk(transform, frame)


def _unset(kind: str, parameters: ParameterMap, dims: int) -> SimpleITK.Transform:
    """The ITK transform of a kind, which takes elastix's ``TransformParameters`` as its own."""
    import SimpleITK as sitk

    if kind in BSPLINES:
        return _unset_bspline(parameters, dims)
    if kind == "TranslationTransform":
        return sitk.Transform(dims, sitk.sitkTranslation)
    kinds = {"EulerTransform": sitk.sitkEuler, "SimilarityTransform": sitk.sitkSimilarity}
    transform = sitk.Transform(dims, kinds.get(kind, sitk.sitkAffine))
    centre = _numbers(parameters, "CenterOfRotationPoint", dims)
    zyx = [float(_word(parameters, "ComputeZYX") == "true")] if kind == "EulerTransform" and dims == 3 else []
    transform.SetFixedParameters([*centre, *zyx])
    return transform


def _unset_bspline(parameters: ParameterMap, dims: int) -> SimpleITK.Transform:
    import SimpleITK as sitk

    if _word(parameters, "UseCyclicTransform") != "false":
        raise ValueError("UseCyclicTransform is not 'false'; expected a B-spline that does not repeat. Register anew")
    order = _word(parameters, "BSplineTransformSplineOrder")
    check_choice("BSplineTransformSplineOrder", order, ["1", "2", "3"])
    first, size, origin, spacing = (
        np.array(_numbers(parameters, key, dims)) for key in ("GridIndex", "GridSize", "GridOrigin", "GridSpacing")
    )
    direction = np.reshape(_numbers(parameters, "GridDirection", dims * dims), (dims, dims)).T  # column after column
    origin = origin + direction @ (spacing * first)
    spline = sitk.BSplineTransform(dims, int(order))
    spline.SetFixedParameters([*size, *origin, *spacing, *direction.ravel()])
    return spline


def _thin_plate(parameters: ParameterMap, targets: list[float], axes: np.ndarray) -> SpatialTransform:
    """A spline through landmarks; ``axes`` is the matrix between ITK's physical components and the world's."""
    dims = len(axes)
    check_choice("SplineKernelType", _word(parameters, "SplineKernelType"), THIN_PLATES[dims])
    if _numbers(parameters, "SplineRelaxationFactor", 1) != [0.0]:
        raise ValueError("SplineRelaxationFactor is not 0; expected a spline through its landmarks. Register anew")
    landmarks = _numbers(parameters, "FixedImageLandmarks", len(targets))
    return ThinPlateSplineTransform(*(np.reshape(points, (-1, dims)) @ axes for points in (landmarks, targets)))


def _initial(parameters: ParameterMap) -> str:
    """The file that holds the map to apply before this one."""
    return _word(parameters, next((key for key in INITIAL_KEYS if key in parameters), INITIAL_KEYS[0]))


def _word(parameters: ParameterMap, key: str) -> str:
    """The first value of a key."""
    if not parameters.get(key):
        raise ValueError(f"{key} is missing among the parameters; expected them as elastix writes them. Copy them anew")
    return parameters[key][0]


def _numbers(parameters: ParameterMap, key: str, count: int | None = None) -> list[float]:
    """All values of a key, ``count`` of them."""
    _word(parameters, key)
    try:
        values = [float(value) for value in parameters[key]]
    except ValueError as error:
        raise ValueError(
            f"{key} begins with {parameters[key][0]!r}; expected numbers. Have elastix write them into this file, with "
            "UseBinaryFormatForTransformationParameters false"
        ) from error
    if count not in (None, len(values)):
        raise ValueError(f"{key} holds {len(values)} numbers, expected {count}; copy the parameters anew")
    check_finite(key, np.array(values))
    return values
