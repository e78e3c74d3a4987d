"""The scripted client: what it asks, and what it makes of the answers, without a server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from monai_cellreg.benchmarks import label_server
from monai_cellreg.benchmarks.label_client import Answer, LabelServerError
from monai_cellreg.benchmarks.label_server import main, measure, summary, table
from monai_cellreg.benchmarks.label_studies import HEARTS, NUCLEI, SLICES, LabelPair, truth_folder

WIDTH = 10
MOVED = 2  # columns, from reference to image


def bar(columns: slice, label: int = 1) -> np.ndarray:
    image = np.zeros((4, WIDTH), np.uint8)
    image[1:3, columns] = label
    return image


def write(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.5, 2.0) if path.suffix == ".gz" else (1.0, 1.0))  # TIFF keeps no spacing reliably
    sitk.WriteImage(image, str(path))
    return path


def made_pair(studies: Path, group: str, case: str, name: str, *, truth: np.ndarray) -> LabelPair:
    end = ".tif" if group == NUCLEI else ".nii.gz"
    reference = "film" if group == NUCLEI else f"{name}_ed"
    pair = LabelPair(
        *(group, case, name, reference, f"{name}{end}", f"{reference}{end}"),
        *(f"labels/final/{reference}{end}", f"{name}{end}"),
    )
    for path in (studies / pair.image_file, studies / pair.reference_file):
        write(path, np.ones((4, WIDTH), np.uint8))
    write(studies / pair.reference_label, bar(slice(1, 5)))
    write(truth_folder(studies) / pair.truth, truth)
    return pair


class FakeClient:
    """Moves labels by two columns and says so in its transform; it has no method named "none"."""

    def __init__(self, folder: Path, *, sign: int = -1) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.folder, self.sign = folder, sign

    def infer(self, model: str, image: str, params: Mapping[str, Any]) -> Answer:
        self.asked.append((model, image))
        if params["method"] == "none":
            raise LabelServerError("there is no method none")
        path = self.folder / f"answer{params['result_extension']}"
        if model == "transform":
            spacing = 1.0 if self.batched(image) else 0.5
            sitk.WriteTransform(sitk.TranslationTransform(2, (self.sign * MOVED * spacing, 0.0)), str(path))
        else:
            write(path, bar(slice(1 + MOVED, 5 + MOVED)))
        return Answer(path.read_bytes(), path.name, {"verdict": {"level": "good", "reasons": ["It fits."]}}, 0.25)

    def batched(self, image: str) -> bool:
        return image.startswith("t")

    def batch(self, model: str, images: Sequence[str], params: Mapping[str, Any]) -> float:
        if params["method"] == "none":
            raise LabelServerError("there is no method none")
        self.asked.append((f"batch {model}", list(images)))
        assert params == {"reference": "film", "method": "auto", "result_extension": ".tif"}
        return 3.0

    def label(self, image: str) -> tuple[bytes, dict[str, Any]]:
        path = write(self.folder / "batched.tif", bar(slice(1 + MOVED, 5 + MOVED)))
        return path.read_bytes(), {"params": {"verdict": {"level": "check", "reasons": []}}}


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    return tmp_path / "studies"


@pytest.fixture
def pairs(studies: Path) -> list[LabelPair]:
    """Truth: a volume that is met; two slices of one patient, one missed; frames, one met and one half met."""
    met, missed, half = (bar(slice(k, k + 4)) for k in (3, 6, 5))
    return [
        made_pair(studies, HEARTS, "p", "p", truth=met),
        made_pair(studies, SLICES, "p", "p_0", truth=met),
        made_pair(studies, SLICES, "p", "p_1", truth=missed),
        made_pair(studies, NUCLEI, "t0", "t0", truth=met),
        made_pair(studies, NUCLEI, "t1", "t1", truth=half),
    ]


def test_figures_are_those_of_arithmetic(tmp_path: Path, studies: Path, pairs: list[LabelPair]) -> None:
    """Bars are 4 columns wide; the reference's lies at 1, the answer's at 3."""
    client = FakeClient(tmp_path)
    lines = summary(list(measure(client, studies, pairs, "auto")))
    assert [line["images"] for line in lines] == [HEARTS, SLICES, NUCLEI]
    hearts, slices, nuclei = lines
    assert (hearts["dice_before"], hearts["dice_after"], hearts["iou_before"]) == (0.5, 1.0, pytest.approx(2 / 6))
    # slices of a patient are counted together: 2 of 4 columns shared in one and none of 4 in the other, then 4 and 1
    assert (slices["cases"], slices["dice_before"], slices["dice_after"]) == (1, 0.25, 0.625)
    assert (slices["iou_before"], slices["iou_after"]) == (pytest.approx(2 / 14), pytest.approx(5 / 11))
    # frames are cases of their own: 2 and 0 of 4 shared, then 4 and 2
    assert (nuclei["cases"], nuclei["dice_before"], nuclei["dice_after"]) == (2, 0.25, 0.75)
    assert nuclei["dice_worst"] == 0.5 and nuclei["seconds"] == 1.5 and nuclei["verdicts"] == {"check": 2}
    assert [line["itk_differs"] for line in lines] == [0, 0, 0]
    assert client.asked[:2] == [("propagate_labels", "p"), ("transform", "p")]
    assert ("batch propagate_labels", ["t0", "t1"]) in client.asked and ("propagate_labels", "t0") not in client.asked


def test_a_transform_of_the_other_direction_is_told(tmp_path: Path, studies: Path, pairs: list[LabelPair]) -> None:
    (one,) = measure(FakeClient(tmp_path, sign=1), studies, pairs[:1], "auto")
    # SimpleITK cuts the bar off at the left: of its 4 columns those at 0 to 2 remain, where the answer has 3 to 6
    assert one.itk_differs == 2 * (3 + 4)


def test_refusals_are_told_and_the_rest_goes_on(tmp_path: Path, studies: Path, pairs: list[LabelPair]) -> None:
    found = [one for method in ("none", "auto") for one in measure(FakeClient(tmp_path), studies, pairs, method)]
    assert [one.refused for one in found] == ["there is no method none"] * 5 + [""] * 5
    text = table(summary(found))
    assert text.count("0 of ") == 3 and "| nuclei | auto   | 2 of 2   | 0.250" in text


def test_command_line_writes_both_files(
    tmp_path: Path, studies: Path, pairs: list[LabelPair], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    from dataclasses import asdict

    (truth_folder(studies) / "pairs.json").write_text(json.dumps([asdict(pair) for pair in pairs]))
    monkeypatch.setattr(label_server, "LabelClient", lambda url, user, password: FakeClient(tmp_path))
    out = tmp_path / "out"
    main(
        [
            "measure",
            str(studies),
            "--url",
            "http://x",
            "--only",
            "hearts",
            "--method",
            "auto",
            "none",
            "--out",
            str(out),
        ]
    )
    told = json.loads((out / "results.json").read_text())
    assert [(row["image"], row["method"], row["refused"][:5]) for row in told["pairs"]] == [
        ("p", "auto", ""),
        ("p", "none", "there"),
    ]
    assert told["pairs"][0]["dice_after"] == 1.0 and told["pairs"][0]["reasons"] == ["It fits."]
    assert (out / "table.md").read_text().strip() in capsys.readouterr().out
