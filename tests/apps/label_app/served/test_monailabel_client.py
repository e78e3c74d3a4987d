"""MONAI Label's own Python client against the server, from the first question to the last label."""

from __future__ import annotations

import re
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # its cgi
    from monailabel.client.client import MONAILabelClient, MONAILabelClientException

AFFINE = {"reference": "heart_ed", "method": "affine"}


@pytest.fixture
def client(server: Any, tmp_path: Path) -> MONAILabelClient:
    return MONAILabelClient(server.url, str(tmp_path))


def read(path: str | Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def resampled(transform: str | Path, label: Path, image: Path) -> np.ndarray:
    """What SimpleITK alone makes of the reference's label."""
    content, grid = sitk.ReadImage(str(label)), sitk.ReadImage(str(image))
    found = sitk.Resample(content, grid, sitk.ReadTransform(str(transform)), sitk.sitkNearestNeighbor, 0)
    return sitk.GetArrayFromImage(found)


def test_info_and_datastore(client: MONAILabelClient) -> None:
    assert client.auth_enabled() is False
    info = client.info()
    assert {"propagate_labels", "propagate_frames", "register", "displacement", "transform"} <= set(info["models"])
    images = client.datastore()["objects"]
    assert {"frame_0", "frame_1", "heart_ed", "heart_es", "cells_0", "cells_1"} <= set(images)
    assert "final" in images["heart_ed"]["labels"] and "final" not in images["heart_es"]["labels"]


@pytest.mark.parametrize("end", [".h5", ".tfm"])
@pytest.mark.parametrize(
    ("image", "reference", "suffix"), [("heart_es", "heart_ed", ".nii.gz"), ("frame_2", "frame_0", ".png")]
)
def test_transform_carries_the_label_in_itk(
    client: MONAILabelClient, server: Any, image: str, reference: str, suffix: str, end: str
) -> None:
    asked = {"reference": reference, "method": "affine"}
    label, told = client.infer("propagate_labels", image, {**asked, "result_extension": suffix})
    transform, _ = client.infer("transform", image, {**asked, "result_extension": end})
    assert label.endswith(suffix) and transform.endswith(end)
    by_itk = resampled(
        transform, server.studies / "labels" / "final" / f"{reference}{suffix}", server.studies / f"{image}{suffix}"
    )
    np.testing.assert_array_equal(by_itk, read(label))
    before = read(server.studies / "labels" / "final" / f"{reference}{suffix}")
    assert (read(label) != before).any() and set(np.unique(read(label))) == set(np.unique(before))
    assert told["reference"] == reference and told["method"] == "affine" and told["label_names"]


def test_warped_image_and_field_agree_with_the_transform(client: MONAILabelClient, server: Any) -> None:
    warped, told = client.infer("register", "heart_es", {**AFFINE, "result_extension": ".nii.gz"})
    field, _ = client.infer("displacement", "heart_es", {**AFFINE, "result_extension": ".nii.gz"})
    transform, _ = client.infer("transform", "heart_es", {**AFFINE, "result_extension": ".tfm"})
    image = sitk.ReadImage(str(server.studies / "heart_es.nii.gz"))
    vectors = sitk.ReadImage(field)
    assert vectors.GetNumberOfComponentsPerPixel() == 3 and vectors.GetSize() == image.GetSize()
    map_ = sitk.ReadTransform(transform)
    for index in ((0, 0, 0), (5, 7, 3), tuple(n - 1 for n in image.GetSize())):
        point = np.array(image.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose(point + vectors[index], map_.TransformPoint(point.tolist()), atol=1e-3)
    moving = sitk.ReadImage(str(server.studies / "heart_ed.nii.gz"), sitk.sitkFloat32)
    by_itk = sitk.GetArrayFromImage(sitk.Resample(moving, image, map_, sitk.sitkLinear, 0.0))
    inside = sitk.GetArrayFromImage(sitk.Resample(moving * 0 + 1, image, map_, sitk.sitkLinear, 0.0)) == 1
    off = np.abs(read(warped).astype(float) - by_itk)[inside]
    assert off.max() <= 0.51 and np.ptp(by_itk[inside]) > 100 and inside.mean() > 0.4  # of whole numbers
    assert told["metrics"]["ncc_after"] > told["metrics"]["ncc_before"]


def test_label_is_submitted_found_and_removed_from_the_samples(
    client: MONAILabelClient, server: Any, tmp_path: Path
) -> None:
    label, told = client.infer("propagate_labels", "frame_3", {"reference": "frame_0", "method": "affine"})
    saved = client.save_label("frame_3", label, params={"label_info": [{"name": "nucleus", "idx": 1}]})
    assert saved["image"] == "frame_3"
    labels = client.datastore()["objects"]["frame_3"]["labels"]
    assert labels["final"]["info"]["label_info"][0]["name"] == "nucleus"
    np.testing.assert_array_equal(read(client.download_label("frame_3", "final")), read(label))
    assert "frame_3" in client.info()["models"]["propagate_labels"]["config"]["reference"]
    assert client.next_sample("random", {})["id"] != "frame_3"


def test_upload_and_session(client: MONAILabelClient, server: Any, tmp_path: Path) -> None:
    image = tmp_path / "new one.png"
    image.write_bytes((server.studies / "frame_1.png").read_bytes())
    session = client.create_session(str(image))["session_id"]
    assert client.get_session(session)
    asked = {"reference": "frame_0", "method": "affine"}
    label, _ = client.infer("propagate_labels", "", dict(asked), session_id=session)
    sent, _ = client.infer("propagate_labels", "", dict(asked), file=str(image))
    np.testing.assert_array_equal(read(label), read(sent))
    client.remove_session(session)
    with pytest.raises(MONAILabelClientException):
        client.get_session(session)
    assert client.upload_image(str(image), "new one") == {"image": "new one"}
    of_id, _ = client.infer("propagate_labels", "new one", dict(asked))
    np.testing.assert_array_equal(read(of_id), read(label))


def test_training_is_started_and_stopped(client: MONAILabelClient, server: Any) -> None:
    trainer = next(iter(client.info()["trainers"]))
    for frame in ("frame_1", "frame_3"):
        client.save_label(frame, str(server.studies / "labels" / "final" / "frame_0.png"))
    assert client.train_start(trainer, {})["id"]
    end = time.monotonic() + 240
    while not client.info()["train_stats"][trainer].get("total_epochs"):
        status = client.train_status()
        assert status["status"] in ("SUBMITTED", "RUNNING") and time.monotonic() < end, status["details"][-3:]
        time.sleep(0.2)
    assert client.train_status(check_if_running=True)
    with pytest.raises(MONAILabelClientException, match="Already Running"):
        client.train_start(trainer, {})
    assert client.train_stop()["status"] == "STOPPED"
    assert client.train_status()["status"] == "STOPPED"


@pytest.mark.parametrize(
    ("model", "image", "params", "reason"),
    [
        ("propagate_labels", "nobody", {"reference": "frame_0"}, "404.*nobody"),
        ("propagate_labels", "frame_1", {"reference": "nobody"}, "404.*nobody"),
        ("propagate_labels", "frame_1", {"reference": "frame_2"}, "4[02][42].*frame_2.*label"),
        ("propagate_labels", "frame_1", {"reference": "frame_0", "method": "magic"}, "422.*magic.*auto"),
        ("transform", "frame_1", {"reference": "frame_0", "result_extension": ".exe"}, "422.*exe.*tfm"),
    ],
)
def test_mistakes_are_answered_with_a_reason(
    client: MONAILabelClient, model: str, image: str, params: dict[str, str], reason: str
) -> None:
    with pytest.raises(MONAILabelClientException) as caught:
        client.infer(model, image, params)
    assert re.search(reason, str(caught.value.msg))
