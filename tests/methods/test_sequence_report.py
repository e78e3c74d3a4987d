from __future__ import annotations

import pytest

from monai_cellreg.methods.sequence_report import judge_sequence


@pytest.mark.parametrize(
    ("figures", "level", "sentence"),
    [
        ({}, "good", "more like the reference than before: mean correlation 0.500 → 0.900"),
        ({"ncc_after": 0.4}, "failed", "less like the reference"),
        ({"ncc_after": 0.501}, "check", "no more like"),
        ({"flags": {"registered": 8, "constant": 1, "failed": 1}}, "check", "2 of 10 frames could not be registered"),
        ({"flags": {"not finite": 10}, "ncc_before": None, "ncc_after": None}, "failed", "10 of 10 frames"),
        ({"flags": {"registered": 4, "neighbour": 5, "identity": 1}}, "check", "In 6 of 10 frames no registration did"),
        ({"flags": {"registered": 5, "neighbour": 4, "identity": 1}}, "good", "No map folds anywhere"),
        ({"folding_fraction": 0.02}, "check", "folds in up to 2 % of the image"),
        ({"folding_fraction": 0.0002}, "good", "folds in up to 0.02 %"),
    ],
)
def test_verdict(figures: dict[str, object], level: str, sentence: str) -> None:
    usual = {"ncc_before": 0.5, "ncc_after": 0.9, "frames": 10, "flags": {"registered": 10}, "folding_fraction": 0.0}
    verdict = judge_sequence({**usual, **figures})
    assert verdict.level == level and sentence in " ".join(verdict.reasons)
