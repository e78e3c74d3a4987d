"""The reference on the voxels of an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")

from monai_cellreg.data import read_grid, read_image

PAIRS = [("frame_2", "frame_3"), ("heart_ed", "heart_es"), ("cells_1", "cells_0")]


@pytest.mark.parametrize(("image", "reference"), PAIRS)
def test_reference_keeps_its_values_and_lies_on_the_image(app, found_by, shift, image: str, reference: str) -> None:
    voxels = (4, 3, 1)[: 3 if "heart" in image else 2]
    found_by(shift(*voxels))
    path = app.infer({"model": "register", "image": image, "reference": reference})["file"]
    fixed, moving = (app.datastore().get_image_uri(each) for each in (image, reference))
    warped, source = read_image(path), read_image(moving)
    inside = tuple(slice(0, n - v) for n, v in zip(source.shape[1:], voxels, strict=True))
    expected = source[0].numpy()[tuple(slice(v, None) for v in voxels)]
    np.testing.assert_allclose(warped[0].numpy()[inside], expected, atol=1)
    assert warped.meta["source_dtype"] == source.meta["source_dtype"]
    assert read_grid(path).matches(read_grid(fixed))


@pytest.mark.parametrize("suffix", ["", ".nrrd", ".tif"])
def test_colour_stays_colour(app, found_by, shift, studies: Path, suffix: str) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (80, 96, 3)).astype(np.uint8)
    Image.fromarray(rgb).save(studies / "stained.png")
    app.datastore().refresh()
    found_by(shift(2, 5))
    request = {"model": "register", "image": "frame_2", "reference": "stained", "result_extension": suffix}
    answer = app.infer(request)
    warped = sitk.GetArrayFromImage(sitk.ReadImage(answer["file"]))
    assert np.array_equal(warped[:-2, :-5], rgb[2:, 5:])
    assert answer["params"]["reference"] == "stained" and "label_names" not in answer["params"]
