"""Seeds by the number of the epoch, and a bar that says what happens."""

from __future__ import annotations

from types import SimpleNamespace

import ignite.distributed as idist
import pytest
import torch
from ignite.engine import Engine, Events

from monai_cellreg.engines import EpochSeed, TrainingProgress, is_worker, loss_terms


def draws(epoch: int, *, seed: int = 0, used: int = 0) -> list[float]:
    """What a generator gives in an epoch after ``used`` numbers were taken from it before."""
    generator = torch.Generator()
    torch.rand(used, generator=generator)
    EpochSeed(generator, seed)(SimpleNamespace(state=SimpleNamespace(epoch=epoch)))
    return torch.rand(4, generator=generator).tolist()


def test_draws_depend_on_seed_and_epoch_alone() -> None:
    assert draws(3) == draws(3, used=100)
    different = {tuple(draws(epoch, seed=seed)) for seed in (0, 1, 2) for epoch in (1, 2, 3, 1000)}
    assert len(different) == 12


def test_every_process_draws_other_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    first = draws(1)
    monkeypatch.setattr(idist, "get_rank", lambda: 1)
    assert draws(1) != first


def test_generator_is_seeded_before_the_first_batch_of_each_epoch() -> None:
    generator, seen = torch.Generator(), []
    trainer = Engine(lambda engine, batch: seen.append(torch.rand(1, generator=generator).item()))
    EpochSeed(generator, 5).attach(trainer)
    trainer.run([0, 0], max_epochs=2)
    assert seen[::2] == [draws(epoch, seed=5)[0] for epoch in (1, 2)]
    assert seen[1::2] == [draws(epoch, seed=5)[1] for epoch in (1, 2)]


@pytest.mark.parametrize("size, rank, worker", [(1, 0, False), (2, 0, False), (2, 1, True)])
def test_every_process_but_the_first_is_a_worker(
    monkeypatch: pytest.MonkeyPatch, size: int, rank: int, worker: bool
) -> None:
    monkeypatch.setattr(idist, "get_world_size", lambda: size)
    monkeypatch.setattr(idist, "get_rank", lambda: rank)
    assert is_worker() == worker


def test_progress_shows_every_term_and_the_metrics_of_each_epoch(capfd: pytest.CaptureFixture[str]) -> None:
    evaluator = Engine(lambda engine, batch: None)
    trainer = Engine(lambda engine, batch: {"terms": {"overlap": 0.25, "loss": 1.5}})
    TrainingProgress(evaluator).attach(trainer)

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate() -> None:
        evaluator.state.metrics = {"iou": 0.9 + trainer.state.epoch / 100, "error": 2.0}
        evaluator.run([0])

    trainer.run([0, 0], max_epochs=2)
    out, err = capfd.readouterr()
    shown = out + err
    assert "overlap=0.25, loss=1.5" in shown
    assert "epoch 1/2: error 2.0000  iou 0.9100" in shown
    assert "epoch 2/2: error 2.0000  iou 0.9200" in shown


def test_loss_terms_are_those_of_the_output() -> None:
    assert loss_terms({"terms": {"loss": 1.0}, "pred": {}}) == {"loss": 1.0}
