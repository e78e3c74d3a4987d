"""The form of what is answered: number types, extensions, figures."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")

from monai_cellreg.apps.label_app.results import (
    Clock,
    asked_suffix,
    finite,
    image_suffix,
    temporary_file,
    verdict_told,
    whole_type,
)
from monai_cellreg.report import Verdict


@pytest.mark.parametrize(
    ("low", "high", "asked", "dtype"),
    [
        (0, 255, None, "uint8"),
        (0, 256, None, "uint16"),
        (0, 65535, "uint8", "uint16"),
        (0, 65536, "uint8", "int32"),
        (-1, 5, "uint8", "int16"),
        (-40000, 5, None, "int32"),
        (0, 5, "uint32", "uint32"),
        (0, 127, "int8", "int8"),
        (0, 128, "int8", "uint8"),
    ],
)
def test_type_holds_all_labels(low: int, high: int, asked: str | None, dtype: str) -> None:
    found, note = whole_type(np.array([low, high]), asked)
    assert found == dtype
    assert np.array([low, high]).astype(found).tolist() == [low, high]
    assert bool(note) == (asked not in (None, dtype))


@pytest.mark.parametrize("asked", ["float32", "int64", "uint", 8, ["uint8"]])
def test_other_types_are_refused(asked: object) -> None:
    with pytest.raises(ValueError, match="result_dtype is .*expected one of 'uint8'"):
        whole_type(np.zeros(3), asked)


@pytest.mark.parametrize(
    ("image", "suffix"),
    [
        ("a.png", ".png"),
        ("a.jpg", ".png"),
        ("a.OME.tif", ".ome.tif"),
        ("a.tiff", ".tiff"),
        ("a.nii", ".nii"),
        ("a.nii.gz", ".nii.gz"),
        ("series", ".nii.gz"),
        ("a.dcm", ".nii.gz"),
    ],
)
def test_format_is_that_of_the_image(image: str, suffix: str) -> None:
    assert image_suffix({}, Path(image)) == suffix
    assert image_suffix({"result_extension": ""}, Path(image)) == suffix
    assert image_suffix({"result_extension": ".nrrd"}, Path(image)) == ".nrrd"


@pytest.mark.parametrize("asked", [".exe", "nrrd", "/../x.nrrd", 3, [".nrrd"]])
def test_unknown_extension_is_refused(asked: object) -> None:
    with pytest.raises(ValueError, match="result_extension is .*expected one of '.h5'"):
        asked_suffix({"result_extension": asked}, (".h5",), ".h5")


def test_file_stays_only_when_the_block_ends_well() -> None:
    with temporary_file(".ome.tif") as kept:
        kept.write_text("x")
    assert kept.name.endswith(".ome.tif") and kept.read_text() == "x"
    kept.unlink()
    with pytest.raises(ValueError, match="no"), temporary_file(".png") as lost:
        raise ValueError("no")
    assert not lost.exists()


def test_figures_are_strict_json() -> None:
    told = finite({"a": math.nan, "b": math.inf, "c": 0.5, "d": 3, "e": "x"})
    assert json.dumps(told, allow_nan=False) == '{"a": null, "b": null, "c": 0.5, "d": 3, "e": "x"}'


def test_gravest_verdict_counts() -> None:
    told = verdict_told([Verdict("good", ("a", "b")), Verdict("failed", ("c",)), Verdict("check", ("a",))])
    assert told == {"level": "failed", "headline": "Do not use this result", "reasons": ["a", "b", "c"]}


def test_latencies_add_up() -> None:
    clock = Clock()
    clock.lap("pre")
    clock.lap("infer")
    assert set(clock.latencies) == {"pre", "infer", "total"}
    assert clock.latencies["total"] == pytest.approx(clock.latencies["pre"] + clock.latencies["infer"], abs=2e-3)
