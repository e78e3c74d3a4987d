"""Registration by ANTs, which is an optional extra.

References:
    Avants et al., Symmetric diffeomorphic image registration with cross-correlation, Medical Image Analysis 2008.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import SimpleITK as sitk

from ..geometry import Pair, SpatialTransform, compose, read_transform
from ..utils import check_choice
from .images import itk_images

TYPES_OF_TRANSFORM = (
    "Translation",
    "Rigid",
    "Similarity",
    "Affine",
    "TRSAA",
    "Elastic",
    "ElasticSyN",
    "SyN",
    "SyNRA",
    "SyNOnly",
    "SyNCC",
    "SyNAggro",
    "SyNLessAggro",
    "SyNabp",
    "SyNBold",
    "SyNBoldAff",
    *(
        f"antsRegistrationSyN{speed}[{stages}]"
        for speed in ("", "Quick", "Repro", "QuickRepro")
        for stages in ("t", "r", "a", "s", "sr", "so", "b", "br", "bo")
    ),
)


class Ants:
    """ANTs by antspyx: as a method, ``register(pair)``.

    Labels are not used. Colour images are compared by their luminance. The number of threads is that of the environment
    variable ``ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS`` when Python starts. Set it to 1 for the same map from the same
    seed: with more, runs differ, by voxels where the images say little.

    Args:
        type_of_transform: ANTs' name for the stages and their settings, such as ``"Affine"``, ``"SyN"``, ``"SyNCC"``.
        seed: of the random samples.

    Raises:
        ValueError: for an unknown type of transform.
        ImportError: when antspyx is not installed.
    """

    def __init__(self, type_of_transform: str = "SyN", *, seed: int = 1) -> None:
        check_choice("type_of_transform", type_of_transform, TYPES_OF_TRANSFORM)
        try:
            import ants
        except ImportError as error:
            raise ImportError(
                "ANTs is not installed; expected the package antspyx. Install it by "
                "pip install 'monai-cellreg[baselines]', or choose another method"
            ) from error
        self._ants, self.type_of_transform, self.seed = ants, type_of_transform, seed

    def register(self, pair: Pair) -> SpatialTransform:
        """The map from fixed to moving world points.

        Raises:
            ValueError: for images that ANTs cannot use.
            RuntimeError: when ANTs fails.
        """
        with tempfile.TemporaryDirectory() as folder:
            images = []
            for name, image in zip(("fixed", "moving"), itk_images(pair), strict=True):
                path = str(Path(folder) / f"{name}.mha")
                sitk.WriteImage(image, path)
                images.append(self._ants.image_read(path))
            try:
                found = self._ants.registration(
                    *images,
                    type_of_transform=self.type_of_transform,
                    outprefix=str(Path(folder) / "found"),
                    random_seed=self.seed,
                )
            except RuntimeError as error:
                raise RuntimeError(
                    f"ANTs failed: {error}. Expected images that overlap; check their places, and what ANTs has printed"
                ) from error
            return compose([read_transform(path, pair.fixed_grid.frame) for path in found["fwdtransforms"]])
