"""Stages of elastix: names, files and mappings; what is chosen for an image; failures and threads."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.ndimage import gaussian_filter

from monai_cellreg.baselines import Elastix
from monai_cellreg.baselines.elastix import chosen_map
from monai_cellreg.geometry import AffineTransform, Pair

pytestmark = pytest.mark.filterwarnings("ignore:builtin type [sS]wig:DeprecationWarning")  # of how itk was built
SHIFT = (2.0, -3.0)  # rows, columns
TRANSLATION = {
    "Transform": ["TranslationTransform"],
    "Registration": ["MultiResolutionRegistration"],
    "Metric": ["AdvancedMeanSquares"],
    "Optimizer": ["AdaptiveStochasticGradientDescent"],
    "ImageSampler": ["RandomCoordinate"],
    "NumberOfResolutions": [2],
    "MaximumNumberOfIterations": [100],
}


@pytest.fixture(scope="module")
def pair() -> Pair:
    noise = gaussian_filter(np.random.default_rng(0).uniform(size=(60, 70)), 3) * 1000
    rows, columns = int(SHIFT[0]), int(SHIFT[1])
    moving = np.roll(noise, (rows, columns), axis=(0, 1))
    return Pair.of(*(torch.tensor(image[8:48, 8:58])[None].float() for image in (noise, moving)))


def write(path: Path, parameters: dict[str, list]) -> Path:
    """A parameter file as elastix's manual shows them, with a comment."""
    quoted = {key: [str(v) if isinstance(v, int) else f'"{v}"' for v in values] for key, values in parameters.items()}
    path.write_text("// chosen\n" + "".join(f"({key} {' '.join(values)})\n" for key, values in quoted.items()))
    return path


def shift_of(stage: object, pair: Pair) -> np.ndarray:
    found = Elastix([stage], threads=1).register(pair)
    assert isinstance(found, AffineTransform)
    return found.points(np.zeros((1, 2)))[0]


def test_stages_are_files_names_and_mappings(pair: Pair, tmp_path: Path) -> None:
    path = write(tmp_path / "translation.txt", TRANSLATION)
    shifts = [shift_of(stage, pair) for stage in (path, str(path), TRANSLATION, "translation")]
    np.testing.assert_allclose(shifts, [SHIFT] * 4, rtol=0, atol=0.1)
    np.testing.assert_array_equal(shifts[0], shifts[2])
    assert (shifts[3] != shifts[2]).any()


def test_own_settings_of_a_map_go_first(pair: Pair) -> None:
    still = {**TRANSLATION, "MaximumNumberOfIterations": [0]}
    assert np.abs(shift_of(still, pair)).max() < 1e-6
    free = {key: words for key, words in TRANSLATION.items() if key != "MaximumNumberOfIterations"}
    assert np.abs(Elastix([free], iterations=1).register(pair).points(np.zeros((1, 2)))).max() < 1.5
    seeded = {**TRANSLATION, "RandomSeed": [9]}
    runs = ((seeded, 1), (seeded, 2), (TRANSLATION, 9), (TRANSLATION, 2))
    found = [Elastix([stage], seed=seed).register(pair).points(np.zeros((1, 2))) for stage, seed in runs]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    assert (found[0] != found[3]).any()


def test_map_fits_the_image() -> None:
    fixed, moving = sitk.Image([64, 25, 16], sitk.sitkUInt8), sitk.Image([40, 40, 16], sitk.sitkUInt8)
    fixed.SetSpacing((0.5, 2.0, 1.0))
    spline = chosen_map("bspline", fixed, moving)
    assert spline["NumberOfResolutions"] == ["3"]
    assert [float(step) for step in spline["FinalGridSpacingInPhysicalUnits"]] == [4.0, 10.0, 4.0]
    assert " ".join(spline["FixedImagePyramidSchedule"]) == "4 2 2 2 2 2 1 1 1"
    assert " ".join(spline["MovingImagePyramidSchedule"]) == "4 4 2 2 2 2 1 1 1"
    assert spline["Metric"][1] == "TransformBendingEnergyPenalty" and float(spline["Metric1Weight"][0]) == 1.0
    fixed.SetSpacing((0.005, 0.02, 0.01))
    assert float(chosen_map("bspline", fixed, moving)["Metric1Weight"][0]) == pytest.approx(1e-4)
    assert "FinalGridSpacingInPhysicalUnits" not in chosen_map("affine", fixed, moving)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Metric": ["Nope"]}, "The following component could not be created: Nope"),
        ({"NumberOfResolutions": ["x"]}, "Casting entry number 0 for the parameter"),
        ({"Transform": []}, "One or more components could not be created"),
    ],
)
def test_failure_tells_elastix_s_reason(pair: Pair, change: dict[str, list[str]], reason: str) -> None:
    with pytest.raises(RuntimeError, match=f"^elastix failed: (ERROR: )?{reason}.* Expected images that overlap"):
        Elastix([{**TRANSLATION, **change}]).register(pair)


def test_threads_and_folder_are_left_alone(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    itk = pytest.importorskip("itk")
    threader = itk.MultiThreaderBase
    monkeypatch.chdir(tmp_path)
    before = threader.GetGlobalMaximumNumberOfThreads(), threader.GetGlobalDefaultNumberOfThreads()
    Elastix([TRANSLATION], threads=before[1] + 1).register(pair)
    with pytest.raises(RuntimeError, match="^elastix failed"):
        Elastix([{**TRANSLATION, "Metric": ["Nope"]}], threads=before[1] + 2).register(pair)
    assert (threader.GetGlobalMaximumNumberOfThreads(), threader.GetGlobalDefaultNumberOfThreads()) == before
    assert os.listdir(tmp_path) == []


def test_stages_without_use_are_refused(tmp_path: Path) -> None:
    for stages in ([], "affine"):
        with pytest.raises(ValueError, match="^stages is .* expected a list of parameter maps"):
            Elastix(stages)
    with pytest.raises(FileNotFoundError, match="^stage 'afine' is no file; expected .* 'translation', 'rigid', 'aff"):
        Elastix(["afine"])
    with pytest.raises(ValueError, match="^iterations is 0, expected finite numbers above 0"):
        Elastix(iterations=0)
    (tmp_path / "cut.txt").write_text('(Transform "AffineTra')
    with pytest.raises(ValueError, match="^line 1 of .*cut.txt is"):
        Elastix([tmp_path / "cut.txt"])
