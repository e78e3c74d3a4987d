"""A training that is stopped and resumed is the uninterrupted one, and whatever is wrong with a checkpoint is told."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from torch import Tensor, nn

from monai_cellreg.engines import Checkpoints, load_checkpoint, load_weights, save_checkpoint

EPOCH = 4  # iterations: 16 nuclei in batches of 4


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def whole(prepare: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An uninterrupted training of four epochs."""
    return prepare(tmp_path_factory.mktemp("whole")).run()


def test_same_seed_gives_the_same_weights_and_another_seed_others(
    whole: Any, prepare: Callable[..., Any], tmp_path: Path
) -> None:
    again = prepare(tmp_path / "again").run()
    assert again.terms == whole.terms and again.metrics == whole.metrics
    assert same(again.weights, whole.weights)
    other = prepare(tmp_path / "other", seed=1, max_epochs=1).run()
    assert all(other.terms[k]["loss"] != whole.terms[k]["loss"] for k in range(1, EPOCH + 1))


@pytest.mark.parametrize("stop_at", [2 * EPOCH + 2, 3 * EPOCH])
def test_stopped_and_resumed_training_is_the_uninterrupted_one(
    whole: Any, prepare: Callable[..., Any], tmp_path: Path, stop_at: int
) -> None:
    stopped = prepare(tmp_path).run(stop_at)
    assert list(stopped.terms) == list(range(1, stop_at + 1))
    assert stopped.terms == {k: whole.terms[k] for k in stopped.terms}
    torch.rand(7)  # a resumed training does not depend on the state of the global generator
    resumed = prepare(tmp_path, resume=True).run()
    assert list(resumed.terms) == list(range(2 * EPOCH + 1, 4 * EPOCH + 1))  # from the last whole epoch
    assert resumed.terms == {k: whole.terms[k] for k in resumed.terms}
    assert resumed.metrics == {k: whole.metrics[k] for k in (3, 4)}
    assert same(resumed.weights, whole.weights)
    for name in ("model.pt", "last.pt"):
        ours, theirs = (torch.load(folder / name) for folder in (tmp_path, Path(whole.part("output_dir"))))
        assert same(ours.get("network", ours), theirs.get("network", theirs))
    assert ours["run"] == theirs["run"]


def test_every_epoch_draws_other_pairs(whole: Any) -> None:
    losses = [whole.terms[k]["transformation"] for k in sorted(whole.terms)]
    assert len(set(losses)) == 4 * EPOCH


def test_files_of_a_training(whole: Any) -> None:
    folder = Path(whole.part("output_dir"))
    assert sorted(path.name for path in folder.iterdir()) == ["average.pt", "last.pt", "model.pt", "tensorboard"]
    last, best = torch.load(folder / "last.pt"), torch.load(folder / "model.pt")
    scores = {epoch: metrics["registration_iou"] for epoch, metrics in whole.metrics.items()}
    assert set(last) == {"network", "optimizer", "lr_scheduler", "average", "run"}
    assert last["run"] == {
        "epoch": 4,
        "iteration": 4 * EPOCH,
        "epoch_length": EPOCH,
        "max_epochs": 4,
        "best_score": max(scores.values()),
        "best_epoch": max(scores, key=lambda epoch: scores[epoch]),
    }
    assert same(last["network"], whole.weights)
    assert set(best) == set(whole.weights)


def test_resuming_a_finished_training_trains_no_further(
    whole: Any, prepare: Callable[..., Any], tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "last.pt", torch.load(Path(whole.part("output_dir")) / "last.pt"))
    resumed = prepare(tmp_path, resume=True).run()
    assert resumed.terms == {} and same(resumed.weights, whole.weights)


def frozen(prepare: Callable[..., Any], folder: Path, **overrides: Any) -> Any:
    """A training whose registration never leaves the identity, so that the first score stays the best."""
    return prepare(folder, learning_rate=0.0, max_epochs=8, patience=3, simulated=4, **overrides)


def test_patience_stops_and_survives_a_resume(prepare: Callable[..., Any], tmp_path: Path) -> None:
    patient = frozen(prepare, tmp_path / "whole").run()
    assert list(patient.metrics) == [1, 2, 3, 4]  # the best and three more
    frozen(prepare, tmp_path / "parts").run(stop_at=3)
    resumed = frozen(prepare, tmp_path / "parts", resume=True).run()
    assert list(resumed.metrics) == [3, 4]
    assert frozen(prepare, tmp_path / "parts", resume=True).run().metrics == {}


def test_network_of_another_size_cannot_be_resumed(whole: Any, prepare: Callable[..., Any]) -> None:
    folder = whole.part("output_dir")
    with pytest.raises(
        ValueError, match=r"(?s)last\.pt' does not fit this training \(.*size mismatch.*Resume with the settings"
    ):
        prepare(folder, resume=True, control_shape=[4, 4]).run()
    with pytest.raises(
        ValueError, match=r"is of a training with 4 steps an epoch, this one has 8; expected the same data"
    ):
        prepare(folder, resume=True, batch_size=2).run()


# --- the handler alone ----------------------------------------------------------------------------------------------


class Run:
    """A trainer with scores given by hand in place of a validation, one an epoch."""

    def __init__(self, folder: Path, scores: list[float], **options: Any) -> None:
        torch.manual_seed(0)
        self.network = nn.Linear(2, 1)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=1.0)
        self.epochs: list[int] = []
        state = SimpleNamespace(epoch=0, metrics={}, key_metric_name="score")
        self.checkpoints = Checkpoints(
            folder, self.network, {"optimizer": self.optimizer}, evaluator=SimpleNamespace(state=state), **options
        )

        def step(engine: Engine, batch: Any) -> None:
            self.epochs.append(engine.state.epoch)
            with torch.no_grad():
                self.network.bias.fill_(engine.state.epoch)
            state.epoch, state.metrics = engine.state.epoch, {"score": scores[engine.state.epoch - 1]}

        self.trainer = Engine(step)
        self.checkpoints.attach(self.trainer)
        self.trainer.run([None], max_epochs=len(scores))


def test_model_is_that_of_the_best_epoch_and_last_that_of_the_last(tmp_path: Path) -> None:
    run = Run(tmp_path, [0.5, 0.7, 0.6, 0.7, float("nan")])
    assert torch.load(tmp_path / "model.pt")["bias"].item() == 2
    assert load_weights(nn.Linear(2, 1), tmp_path / "last.pt").bias.item() == 5
    assert (run.checkpoints.best_score, run.checkpoints.best_epoch) == (0.7, 2)


@pytest.mark.parametrize("patience, epochs", [(1, 2), (2, 5), (9, 6)])
def test_patience_counts_epochs_since_the_best(tmp_path: Path, patience: int, epochs: int) -> None:
    run = Run(tmp_path, [0.5, 0.4, 0.6, 0.6, 0.1, 0.2], patience=patience)
    assert run.epochs == list(range(1, epochs + 1))
    assert load_checkpoint(tmp_path / "last.pt")["run"]["epoch"] == epochs


@pytest.mark.parametrize("patience", [0, -1])
def test_patience_below_one_is_refused(tmp_path: Path, patience: int) -> None:
    with pytest.raises(ValueError, match=f"patience is {patience}, expected finite numbers above 0"):
        Run(tmp_path, [0.5], patience=patience)


def test_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(content: Any, path: Path) -> None:
        Path(path).write_bytes(b"half of it")
        raise OSError("No space left on device")

    path = tmp_path / "last.pt"
    save_checkpoint(path, {"x": torch.tensor([1.0, 2.0])})
    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, {"x": torch.tensor([3.0])})
    assert load_checkpoint(path)["x"].tolist() == [1, 2]
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


def test_folder_that_cannot_be_written_is_told_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NotADirectoryError, match=rf"because {tmp_path / 'file'} is not a folder"):
        Run(tmp_path / "file" / "run", [0.5])


def test_resume_without_a_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"resume is set but output_dir '.*' has no last\.pt; expected the folder"
    ):
        Run(tmp_path, [0.5], resume=True)


@pytest.mark.parametrize(
    "content, why",
    [
        ({"weight": torch.zeros(1, 2)}, "it lacks network, optimizer, run"),
        ({"network": {"weight": torch.zeros(3, 2)}, "optimizer": {}, "run": {}}, "Missing key"),
        ({"network": torch.zeros(1), "optimizer": {}, "run": {}}, "state_dict"),
        ({"network": nn.Linear(2, 1).state_dict(), "optimizer": {}, "run": {}}, "param_groups"),
        ({"network": nn.Linear(2, 1).state_dict(), "optimizer": torch.zeros(1), "run": {}}, "copy"),
    ],
)
def test_resume_from_a_foreign_checkpoint_is_told(tmp_path: Path, content: dict[str, Any], why: str) -> None:
    save_checkpoint(tmp_path / "last.pt", content)
    with pytest.raises(
        ValueError, match=rf"(?s)last\.pt' does not fit this training \(.*{why}.*\); expected one written"
    ):
        Run(tmp_path, [0.5], resume=True)


# --- reading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [load_checkpoint, lambda path: load_weights(nn.Linear(2, 1), path)])
def test_unusable_files_are_told(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    with pytest.raises(FileNotFoundError, match=r"checkpoint '.*none\.pt' does not exist; expected a file of weights"):
        read(tmp_path / "none.pt")
    save_checkpoint(tmp_path / "whole.pt", nn.Linear(2, 1).state_dict())
    whole = (tmp_path / "whole.pt").read_bytes()
    files = {"text": b"not a checkpoint", "empty": b"", "half": whole[: len(whole) // 2]}
    files["object"] = pickle.dumps(Path("/"), protocol=2)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(
            ValueError, match=rf"checkpoint '.*{name}' cannot be read \(\w+\); expected a file written by"
        ):
            read(tmp_path / name)
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    with pytest.raises(ValueError, match=r"tensor\.pt' holds a Tensor; expected a dictionary of tensors"):
        read(tmp_path / "tensor.pt")


@pytest.mark.parametrize("content", [nn.Linear(3, 1).state_dict(), {"a": 1}, {}, {"network": torch.zeros(2)}])
def test_weights_of_another_network_are_told(tmp_path: Path, content: dict[str, Any]) -> None:
    save_checkpoint(tmp_path / "model.pt", content)
    text = r"(?s)model\.pt' is not of this network \(.+\); expected weights of a Linear with the same settings"
    with pytest.raises(ValueError, match=text):
        load_weights(nn.Linear(2, 1), tmp_path / "model.pt")


@pytest.mark.parametrize("wrap", [lambda weights: weights, lambda weights: {"network": weights, "run": {}}])
def test_weights_are_read_from_both_kinds_of_files(tmp_path: Path, wrap: Callable[[Any], Any]) -> None:
    saved, network = nn.Linear(2, 3), nn.Linear(2, 3)
    save_checkpoint(tmp_path / "x.pt", wrap(saved.state_dict()))
    assert load_weights(network, tmp_path / "x.pt") is network
    assert same(network.state_dict(), saved.state_dict())


def test_partial_weights_leave_the_others_and_must_still_fit(tmp_path: Path) -> None:
    saved, network = nn.Linear(2, 3), nn.Linear(2, 3)
    bias = network.bias.detach().clone()
    save_checkpoint(tmp_path / "part.pt", {"weight": saved.weight.detach()})
    with pytest.raises(ValueError, match=r'(?s)is not of this network \(.*Missing key.*"bias"'):
        load_weights(network, tmp_path / "part.pt")
    load_weights(network, tmp_path / "part.pt", partial=True)
    assert torch.equal(network.weight, saved.weight) and torch.equal(network.bias, bias)
    save_checkpoint(tmp_path / "more.pt", {"weight": saved.weight.detach(), "scale": torch.ones(1)})
    with pytest.raises(ValueError, match=r'(?s)is not of this network \(.*Unexpected key.*"scale"'):
        load_weights(network, tmp_path / "more.pt", partial=True)


def test_message_about_a_missing_file_names_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape("Train first (monai-cellreg bundle train NAME)")):
        load_weights(nn.Linear(2, 1), tmp_path / "model.pt")
