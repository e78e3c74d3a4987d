import inspect
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from monai_cellreg.engines.instance import auto
from monai_cellreg.geometry import SamplingGrid
from monai_cellreg.methods import judge
from monai_cellreg.methods.verdict import DOUBTED, GAVE_UP

GOOD = {
    "ncc_before": 0.5,
    "ncc_after": 0.9,
    "nmi_before": 1.1,
    "nmi_after": 1.2,
    "folding_fraction": 0.0,
    "mean_displacement": 3.0,
    "max_displacement": 8.0,
    "coverage": 0.97,
}


@dataclass
class Result:
    metrics: dict = field(default_factory=lambda: dict(GOOD))
    account: tuple = ()
    pair: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(fixed_grid=SamplingGrid((30, 40), np.diag([2.0, 2.0, 1]), unit="µm"))
    )


def judged(**changes):
    return judge(Result({**GOOD, **changes}))


def test_a_good_result_is_called_good_with_its_numbers():
    verdict = judged()
    text = " ".join(verdict.reasons)
    assert verdict.level == "good" and "0.500 → 0.900" in text and "97 %" in text
    assert "8 µm, 8 % of the image's diagonal" in text  # of 60 x 80 µm


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"ncc_after": 0.4, "nmi_after": 1.0}, "failed", "agree less"),
        ({"ncc_after": 0.4}, "check", "contradict"),
        ({"ncc_after": 0.501, "nmi_after": 1.1}, "check", "no better"),
        ({"ncc_before": -0.5, "ncc_after": -0.9}, "good", "agree better"),
        ({"ncc_before": -0.9, "ncc_after": -0.5, "nmi_after": 1.0}, "failed", "agree less"),
        ({"ncc_before": -0.5, "ncc_after": 0.9}, "good", "agree better"),
        ({"ncc_before": 0.027, "ncc_after": -0.044, "nmi_after": 1.1}, "failed", "agree less"),
        ({"ncc_before": 0.027, "ncc_after": -0.044}, "check", "contradict"),
        ({"folding_fraction": 0.0005}, "good", "folds in 0.05 %"),
        ({"folding_fraction": 0.002}, "check", "folds in 0.2 %"),
        ({"folding_fraction": 0.05}, "failed", "folds in 5 %"),
        ({"max_displacement": 24.0}, "good", "24 %"),
        ({"max_displacement": 26.0}, "check", "only if"),
        ({"max_displacement": 110.0}, "check", ", 110 % of the image's diagonal"),
        ({"max_displacement": 99.7}, "check", ", 100 % of the image's diagonal"),
        ({"max_displacement": 0.00003}, "good", ", 0.00003 % of the image's diagonal"),
        ({"coverage": 0.4}, "check", "covers 40 %"),
        ({"coverage": 0.01}, "failed", "covers 1 %"),
        ({"iou_before": 0.7, "iou_after": 0.9}, "good", "overlap better"),
        ({"iou_before": 0.9, "iou_after": 0.7}, "failed", "overlap less"),
        ({"ncc_after": float("nan")}, "failed", r"Not a number: Correlation"),
    ],
)
def test_each_figure_counts(changes, level, words):
    verdict = judged(**changes)
    assert verdict.level == level and any(words in reason for reason in verdict.reasons)


def test_the_gravest_comes_first():
    verdict = judged(folding_fraction=0.05, max_displacement=50.0)
    assert "folds" in verdict.reasons[0] and "only if" in verdict.reasons[1]


@pytest.mark.parametrize("words", [GAVE_UP, DOUBTED])
def test_a_method_that_gave_up_or_doubts_its_result_is_looked_at_closely(words):
    said = f"The images agree in some way: {words}."
    verdict = judge(Result(account=("Affine from a start.", said)))
    assert (verdict.level, verdict.reasons[0]) == ("check", said)
    assert words in inspect.getsource(auto), "the optimisation says it in other words"


def test_all_doubts_of_a_method_are_reasons():
    doubts = tuple(f"So: {words}." for words in (DOUBTED, GAVE_UP))
    assert judge(Result(account=doubts)).reasons[:2] == doubts


def test_what_is_wrong_outweighs_a_doubt():
    verdict = judge(Result({**GOOD, "coverage": 0.01}, (f"So: {DOUBTED}.",)))
    assert verdict.level == "failed" and DOUBTED in verdict.reasons[1]


def test_without_a_comparison_nothing_is_called_good():
    known = {k: v for k, v in GOOD.items() if not k.endswith("_before")}
    verdict = judge(Result(known))
    assert verdict.level == "check" and "not known" in verdict.reasons[0]
