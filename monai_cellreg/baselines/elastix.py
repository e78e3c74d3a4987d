"""Registration by elastix.

References:
    Klein et al., elastix: a toolbox for intensity-based medical image registration, IEEE TMI 2010.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from ..geometry import Pair, SpatialTransform, from_elastix
from ..geometry.elastix import parse_elastix
from ..utils import check_positive
from .images import control_spacing, itk_images, share_their_place, shrink_factors_of_both

if TYPE_CHECKING:
    import itk

ParameterMap = Mapping[str, Sequence[str]]
Stage = str | os.PathLike[str] | ParameterMap
CHOSEN = ("translation", "rigid", "affine", "bspline")  # elastix's own maps, fitted to the images by chosen_map
LOG = "elastix.log"


class Elastix:
    """elastix by itk-elastix: as a method, ``register(pair)``.

    Labels are not used. Colour images are compared by their luminance.

    Args:
        stages: parameter maps, run one after the other. Each is a name (``"translation"``, ``"rigid"``, ``"affine"``,
            ``"bspline"``) of one of elastix's own maps, of which pyramid, grid spacing and the weight of the bending
            energy are fitted to the images (see :func:`chosen_map`); the path of a parameter file; or a mapping of keys
            to sequences of words.
        iterations: at each level; a map's own ``MaximumNumberOfIterations`` goes before it.
        seed: of the random samples; a map's own ``RandomSeed`` goes before it.
        threads: number of threads; elastix's choice when omitted.

    Raises:
        ValueError: for no stage, or a parameter file that is damaged.
        FileNotFoundError: for a stage that is neither a name nor a file.

    Example:
        >>> Elastix(["rigid", {"Transform": ["AffineTransform"], "Metric": ["AdvancedMeanSquares"]}], seed=1).seed
        1
    """

    def __init__(
        self,
        stages: Sequence[Stage] = ("rigid", "affine", "bspline"),
        *,
        iterations: int = 256,
        seed: int = 1,
        threads: int | None = None,
    ) -> None:
        if isinstance(stages, str) or not stages:
            raise ValueError(f"stages is {stages!r}; expected a list of parameter maps, such as ['rigid', 'bspline']")
        check_positive("iterations", iterations)
        self.stages, self.iterations = [_read(stage) for stage in stages], iterations
        self.seed, self.threads = seed, threads

    def register(self, pair: Pair) -> SpatialTransform:
        """The map from fixed to moving world points.

        Raises:
            ValueError: for images that elastix cannot use, or results that :func:`from_elastix` refuses.
            RuntimeError: when elastix fails.
        """
        fixed, moving = itk_images(pair)
        unsaid = {
            "AutomaticTransformInitialization": ["false" if share_their_place(fixed, moving) else "true"],
            "HowToCombineTransforms": ["Compose"],
            "MaximumNumberOfIterations": [str(self.iterations)],
            "RandomSeed": [str(self.seed)],
        }
        own = (chosen_map(stage, fixed, moving) if isinstance(stage, str) else stage for stage in self.stages)
        maps = [{**unsaid, **stage, "WriteResultImage": ["false"]} for stage in own]
        return from_elastix(_run(fixed, moving, maps, self.threads), pair.fixed_grid.frame)


def chosen_map(name: str, fixed: sitk.Image, moving: sitk.Image) -> ParameterMap:
    """One of elastix's own parameter maps, fitted to a pair of images.

    - The number of iterations is left open.
    - The pyramid has at most four levels, and no more than leave eight voxels along an axis.
    - Control points are as far apart as there are of them: 16 voxels along an axis of 256.
    - The bending energy is measured in voxels, so that its weight does not depend on the unit of length.

    Args:
        name: one of ``CHOSEN``.
        fixed: in physical space.
        moving: in physical space.
    """
    import itk

    factors = shrink_factors_of_both(fixed, moving)
    own = itk.ParameterObject.New().GetDefaultParameterMap(name, len(factors))
    chosen = {key: list(words) for key, words in own.items() if key != "MaximumNumberOfIterations"}
    for image, levels in zip(("Fixed", "Moving"), zip(*factors, strict=True), strict=True):
        chosen[f"{image}ImagePyramidSchedule"] = _words(factor for level in levels for factor in level)
    if name == "bspline":
        spacing = fixed.GetSpacing()
        steps = (s * n for s, n in zip(spacing, control_spacing(fixed.GetSize()), strict=True))
        chosen["FinalGridSpacingInPhysicalUnits"] = _words(steps)
        chosen["Metric1Weight"] = _words([math.prod(spacing) ** (2 / len(spacing))])
    return chosen


def _read(stage: Stage) -> str | ParameterMap:
    """A stage as the name of one of elastix's own maps, or a parameter map."""
    if isinstance(stage, Mapping):
        return {key: [str(word) for word in words] for key, words in stage.items()}
    if stage in CHOSEN:
        return str(stage)
    if not Path(stage).is_file():
        raise FileNotFoundError(
            f"stage {str(stage)!r} is no file; expected a parameter file of elastix, a mapping, or one of "
            f"{', '.join(map(repr, CHOSEN))}"
        )
    return parse_elastix(stage)


def _words(numbers: Iterable[float]) -> list[str]:
    return [repr(number) for number in numbers]


def _run(fixed: sitk.Image, moving: sitk.Image, maps: list[ParameterMap], threads: int | None) -> list[ParameterMap]:
    """The transform parameters that elastix finds."""
    import itk

    parameters = itk.ParameterObject.New()
    for each in maps:
        parameters.AddParameterMap(each)
    options = {} if threads is None else {"number_of_threads": threads}
    with _keep_thread_counts(), tempfile.TemporaryDirectory() as folder:  # else files are left where Python runs
        try:
            _, found = itk.elastix_registration_method(
                *map(_to_itk, (fixed, moving)),
                parameters,
                output_directory=folder,
                log_to_file=True,
                log_file_name=LOG,
                **options,
            )
        except RuntimeError as error:
            raise RuntimeError(
                f"elastix failed: {_last_words(Path(folder) / LOG)}. Expected images that overlap and parameters of "
                "elastix's manual; check the images' places and the parameter maps, or begin with 'translation'"
            ) from error
    return [found.GetParameterMap(n) for n in range(found.GetNumberOfParameterMaps())]


@contextmanager
def _keep_thread_counts() -> Iterator[None]:
    """Takes back the number of threads, which elastix sets for all of ITK."""
    import itk

    threader = itk.MultiThreaderBase
    before = threader.GetGlobalMaximumNumberOfThreads(), threader.GetGlobalDefaultNumberOfThreads()
    try:
        yield
    finally:
        threader.SetGlobalMaximumNumberOfThreads(before[0])
        threader.SetGlobalDefaultNumberOfThreads(before[1])


def _to_itk(image: sitk.Image) -> itk.Image:
    """The same image for itk-elastix, which takes none of SimpleITK."""
    import itk

    converted = itk.image_from_array(sitk.GetArrayViewFromImage(image))
    dims = image.GetDimension()
    converted.SetOrigin(image.GetOrigin())
    converted.SetSpacing(image.GetSpacing())
    converted.SetDirection(itk.matrix_from_array(np.reshape(image.GetDirection(), (dims, dims))))
    return converted


def _last_words(log: Path) -> str:
    """Why elastix says that it stopped: the last error's description, or else the last line of its log."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    said = [line.strip() for line in lines if line.strip()]
    reasons = [line.partition("Description:")[2] for line in said if line.startswith("Description:")]
    last = (reasons or said)[-1:] or ["it left no log"]
    return re.sub(r"^\s*ITK ERROR:\s*|\w+\(0x[0-9a-f]+\):\s*|^ERROR:\s*", "", last[0]).strip().rstrip(".!")
