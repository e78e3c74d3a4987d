"""A file of two frames as channels, and the moving one on the fixed one: as ``mc.register`` gives it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImaged

import monai_cellreg as mc
from monai_cellreg.data.synthetic_heart import simulated_cardiac
from monai_cellreg.data.synthetic_sequence import NucleusSequence
from monai_cellreg.geometry import SamplingGrid
from monai_cellreg.inferers import OverlaidInferer, PairInferer
from monai_cellreg.methods import FramesAsChannelsd, WarpedMovingInferer, bundle_method, load_method
from monai_cellreg.networks import PairAsChannels

AFFINE = np.array([[0.0, -1.5, 0, 4], [1.2, 0, 0, -7], [0, 0, 5.0, 11], [0, 0, 0, 1]])
GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(7, 5, 2), (7, 5, 1, 2), (7, 5, 4, 2)])
def test_frames_of_a_nifti_file_become_channels(shape: tuple[int, ...], tmp_path: Path) -> None:
    stored = GENERATOR.random(shape).astype(np.float32)
    nib.save(nib.Nifti1Image(stored, AFFINE), tmp_path / "frames.nii.gz")
    given = LoadImaged("image")({"image": tmp_path / "frames.nii.gz", "else": 3})
    dims = 3 if shape[2] == 4 else 2
    found = FramesAsChannelsd("image", spatial_dims=dims)(given)
    assert found["else"] == 3 and given["image"].shape == shape
    channels = found["image"]
    for frame in range(2):
        expected = stored[..., frame] if dims == 3 or len(shape) == 3 else stored[..., 0, frame]
        np.testing.assert_array_equal(channels[frame], expected)
    assert tuple(channels.meta["spatial_shape"]) == (7, 5, shape[2] if dims == 3 else 1)
    np.testing.assert_allclose(channels.affine, AFFINE)


def test_pages_of_a_tiff_become_channels(tmp_path: Path) -> None:
    stored = GENERATOR.integers(0, 60000, (2, 5, 7)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "frames.tif", stored, photometric="minisblack")
    given = LoadImaged("image")({"image": tmp_path / "frames.tif"})
    found = FramesAsChannelsd("image", spatial_dims=2)(given)["image"]
    np.testing.assert_array_equal(found, stored.transpose(0, 2, 1))  # MONAI's readers give x, y
    assert found.dtype == torch.float32


def test_other_frames_are_refused() -> None:
    text = r"image has shape 7x5x3; expected two frames of 2 axes along the last axis, .* TIFF or NIfTI"
    with pytest.raises(ValueError, match=text):
        FramesAsChannelsd("image", spatial_dims=2)({"image": torch.zeros(7, 5, 3)})
    with pytest.raises(ValueError, match="image has shape 7x5x4x2; expected two frames of 2 axes"):
        FramesAsChannelsd("image", spatial_dims=2)({"image": torch.zeros(7, 5, 4, 2)})
    with pytest.raises(ValueError, match="image has shape 7x5x2; expected two frames of 3 axes"):
        FramesAsChannelsd("image", spatial_dims=3)({"image": torch.zeros(7, 5, 2)})


def test_nuclei_are_warped_as_by_the_method(film: NucleusSequence) -> None:
    """In a batch, too, and within ``torch.no_grad``, as MONAI Label runs it: the refinement descends all the same."""
    frames = torch.from_numpy(film.images[:, 0, 4:, :57].copy())
    method = load_method("joint")
    inferer = WarpedMovingInferer(PairInferer(1), method.refinement)
    with torch.no_grad():
        found = inferer(torch.stack([frames, frames.flip(0)]), PairAsChannels(method.network))
    assert found.shape == (2, 1, 60, 57, 1) and not found.requires_grad
    for number, pair in enumerate((frames, frames.flip(0))):
        expected = mc.register(*pair.numpy(), method="joint").warped
        assert np.abs(expected - pair[1].numpy()).max() > 0.1
        np.testing.assert_array_equal(found[number, 0, ..., 0], expected)


def test_labels_of_a_network_that_takes_them_stay_labels(film: NucleusSequence) -> None:
    frames = torch.from_numpy(film.labels[:, 0].copy())
    frames[1] *= 3
    method = load_method("segreg")
    found = WarpedMovingInferer(PairInferer(1))(frames[None], PairAsChannels(method.network))[0, 0, ..., 0]
    assert set(found.unique().tolist()) == {0, 3}
    before, after = (float(((frames[0] > 0) != (image > 0)).float().mean()) for image in (frames[1], found))
    assert after < before / 2


def test_pixel_size_of_the_file_is_heeded() -> None:
    """Columns of the affine are the axes of the frames, in mm, whatever way they point."""
    heart = simulated_cardiac(1, slices=1, size=(64, 80), seed=3)[0]
    frames = torch.stack([heart.images[heart.ed], heart.images[heart.es]])
    method = bundle_method("dirnet")
    grid = SamplingGrid((64, 80), np.diag([1.2, 1.5, 1]), unit="mm")
    images = [grid.to_image(frame[None]) for frame in frames]
    for pixel_size in (None, 2.5):
        method.inferer = OverlaidInferer(pixel_size=pixel_size)
        expected = mc.register(*images, method=method).warped
        given = MetaTensor(frames, affine=torch.from_numpy(AFFINE))[None]
        found = WarpedMovingInferer(method.inferer)(given, PairAsChannels(method.network))
        np.testing.assert_array_equal(found[0, ..., 0], expected)


def test_volumes_stay_volumes() -> None:
    method = load_method("dirnet-hippocampus")
    frames = torch.rand(1, 2, 16, 24, 8)
    found = WarpedMovingInferer(method.inferer)(frames, PairAsChannels(method.network))
    assert found.shape == (1, 1, 16, 24, 8)
