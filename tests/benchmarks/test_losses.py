"""What is compared computes the same, and the command leaves its table."""

from __future__ import annotations

import json
from pathlib import Path

import monai.losses
import pytest
import torch
from torch import Tensor

from monai_cellreg.benchmarks.losses import (
    cases,
    correlation_case,
    image_pair,
    main,
    monai_parts,
    smoothness_case,
    training_step,
)
from monai_cellreg.benchmarks.timing import Candidate
from monai_cellreg.losses import BendingEnergyLoss


def test_candidates_give_the_same_gradients_and_steps() -> None:
    for case in cases(quick=True):
        if "bfloat16" in case.part:
            continue
        peer, *others = (result(run) for run in case.candidates.values())
        for found in others:
            torch.testing.assert_close(found, peer, rtol=0, atol=1e-4 * float(peer.abs().max()), msg=case.part)


def test_low_precision_step_is_that_of_monai_in_float32() -> None:
    *_, case = cases(quick=True)
    assert "bfloat16" in case.part
    peer, inexact, ours = (float(result(run)) for run in case.candidates.values())
    assert ours == pytest.approx(peer, abs=1e-3)  # networks in bfloat16 differ a little from run to run
    assert abs(inexact - peer) > 10 * abs(ours - peer)


def result(run: Candidate) -> Tensor:
    """The gradient, or the loss of the step after the first."""
    found = run()
    if isinstance(found, tuple):
        return found[0]
    second = run()
    assert isinstance(found, Tensor) and isinstance(second, Tensor)
    assert not torch.equal(found, second)  # it has learnt
    return second


def test_steps_do_not_touch_the_global_generator() -> None:
    state = torch.get_rng_state()
    training_step((32, 32), 1, monai_parts())
    assert torch.equal(torch.get_rng_state(), state)


def test_images_and_bytes_that_must_be_moved() -> None:
    pred, target = image_pair((9, 8), 2)
    assert pred.requires_grad and not target.requires_grad
    assert 0 <= float(pred.detach().min()) and float(pred.detach().max()) <= 1
    assert 0.3 < float(torch.corrcoef(torch.stack([pred.detach().flatten(), target.flatten()]))[0, 1]) < 0.95
    assert correlation_case((9, 8), 2).moved_bytes == 4 * 5 * 144
    bending = smoothness_case(BendingEnergyLoss, monai.losses.BendingEnergyLoss, (9, 8), 2)
    assert bending.part.startswith("bending, ") and bending.moved_bytes == 4 * 2 * 288


def test_command_writes_and_prints_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--out", str(tmp_path)])
    written = (tmp_path / "losses.md").read_text()
    assert capsys.readouterr().out.endswith(written)
    rows = json.loads((tmp_path / "losses.json").read_text())
    assert {row["part"].split(",")[0] for row in rows} >= {"LNCC", "bending", "diffusion", "training step"}
    assert all(row["seconds"] > 0 and row["peak_bytes"] > 0 for row in rows)
