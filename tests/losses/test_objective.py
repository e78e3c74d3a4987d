"""Equation 4: every term by name, and their weighted sum."""

from __future__ import annotations

import re

import pytest
import torch
from monai.losses import DiceLoss, MaskedDiceLoss
from torch import Tensor, nn

from monai_cellreg.geometry import warp
from monai_cellreg.losses import LabelCrossEntropyLoss, Objective, Term, TransformationLoss


class Difference(nn.Module):
    """Not symmetric, so that a change of order shows."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - 2 * b).sum()


class PairSum(nn.Module):
    """Takes a tuple and a tensor."""

    def forward(self, pair: tuple[Tensor, Tensor], c: Tensor) -> Tensor:
        assert isinstance(pair, tuple)
        return (pair[0] + 10 * pair[1] + 100 * c).sum()


PREDICTION = {"p": torch.tensor([1.0]), "map": torch.tensor([5.0])}
TARGET = {"t": torch.tensor([3.0]), "map": torch.tensor([7.0])}


def test_every_term_unweighted_and_the_weighted_sum() -> None:
    objective = Objective({"a": Term(Difference(), ["p", "t"], 0.5), "b": Term(PairSum(), [["p", "t"], "p"], 2.0)})
    out = objective(PREDICTION, TARGET)
    assert {name: value.item() for name, value in out.items()} == {"a": -5, "b": 131, "loss": 0.5 * -5 + 2 * 131}


def test_same_name_on_both_sides_is_the_prediction_unless_the_target_is_named() -> None:
    out = Objective({"map": Term(Difference(), ["map", "target.map"])})(PREDICTION, TARGET)
    assert out["map"].item() == 5 - 2 * 7


def test_weight_zero_leaves_a_term_out_and_does_not_compute_it() -> None:
    objective = Objective({"a": Term(Difference(), ["p", "t"]), "absent": Term(Difference(), ["no", "such"], 0.0)})
    assert objective(PREDICTION, TARGET).keys() == {"a", "loss"}


def test_parameters_of_a_loss_are_found() -> None:
    learnt = nn.Linear(1, 1)
    objective = Objective({"a": Term(nn.Sequential(learnt), ["p"])})
    assert {id(p) for p in objective.parameters()} == {id(p) for p in learnt.parameters()}


@pytest.mark.parametrize("of", [["p", "tt"], [["p", "tt"]], ["p", "target.p"]])
def test_unknown_name_is_told_with_the_known_ones(of: list) -> None:
    wrong = "target.p" if of[-1] == "target.p" else "tt"
    text = f"a loss takes {wrong!r}, which is neither predicted nor a target; expected one of ['map', 'p', 't', "
    with pytest.raises(ValueError, match=re.escape(text)):
        Objective({"a": Term(Difference(), of)})(PREDICTION, TARGET)


@pytest.mark.parametrize(
    "weights, text", [({}, "{}"), ({"loss": 1.0}, "{'loss': 1.0}"), ({"a": 0.0, "b": 0.0}, "{'a': 0.0, 'b': 0.0}")]
)
def test_objective_without_a_term_or_with_one_named_loss_is_refused(weights: dict[str, float], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"terms have the weights {text}; expected at least one above 0")):
        Objective({name: Term(Difference(), ["p", "t"], weight) for name, weight in weights.items()})


def test_gradient_of_the_sum() -> None:
    objective = Objective({"a": Term(TransformationLoss(), ["p", "t"], 0.7), "b": Term(nn.MSELoss(), ["t", "p"], 3.0)})
    generator = torch.Generator().manual_seed(0)
    fields = [torch.randn(1, 2, 3, 4, dtype=torch.float64, generator=generator, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda p, t: objective({"p": p}, {"t": t})["loss"], fields)


def test_overlap_of_warped_labels_by_monai_and_ours_drives_a_registration() -> None:
    """A block is moved onto another by the gradient of soft Dice and cross entropy of its warped label, in a mask."""
    fixed, moving = torch.zeros(2, 1, 1, 24, 30)
    fixed[..., 8:16, 10:20], moving[..., 11:19, 8:18] = 1, 1
    mask = torch.ones(1, 1, 24, 30)
    names = ["warped_label", "fixed_label", "mask"]
    terms = {"dice": Term(DiceLoss(), names[:2]), "masked": Term(MaskedDiceLoss(), names)}
    objective = Objective({**terms, "cross_entropy": Term(LabelCrossEntropyLoss(), names, 0.1)})
    shift = torch.zeros(1, 2, 1, 1, requires_grad=True)
    optimizer = torch.optim.Adam([shift], lr=0.2)
    soft = nn.functional.avg_pool2d(moving, 5, stride=1, padding=2)
    for _ in range(60):
        optimizer.zero_grad()
        out = objective({"warped_label": warp(soft, shift.expand(1, 2, 24, 30))}, {"fixed_label": fixed, "mask": mask})
        out["loss"].backward()
        optimizer.step()
    assert out["dice"].item() == pytest.approx(out["masked"].item())
    assert shift.flatten().tolist() == pytest.approx([3, -2], abs=0.1)
