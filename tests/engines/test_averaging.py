"""The file holds the mean of the weights after each epoch, whether or not the training was stopped in between."""

from __future__ import annotations

from pathlib import Path

import torch
from ignite.engine import Engine
from torch import nn

from monai_cellreg.engines import WeightAverage


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2))


def trained(folder: Path, net: nn.Module, *, epochs: int, average: WeightAverage | None = None) -> WeightAverage:
    """Every epoch adds its number, from 1, to all weights and sets the statistics to it."""
    average = average or WeightAverage(folder, net)

    def step(engine: Engine, batch: object) -> None:
        with torch.no_grad():
            for value in net.parameters():
                value += engine.state.epoch
        net[1].running_mean.fill_(engine.state.epoch)

    engine = Engine(step)
    average.attach(engine)
    engine.run([0], max_epochs=epochs)
    return average


def test_mean_over_epochs_with_the_last_statistics(tmp_path: Path) -> None:
    start = {name: value.clone() for name, value in network().named_parameters()}
    trained(tmp_path, network(), epochs=3)
    saved = torch.load(tmp_path / "average.pt", weights_only=True)
    assert saved.keys() == network().state_dict().keys()
    for name, value in start.items():  # + 1, + 1 + 2, + 1 + 2 + 3
        torch.testing.assert_close(saved[name], value + (1 + 3 + 6) / 3)
    assert saved["1.running_mean"].eq(3).all()


def test_goes_on_from_its_state(tmp_path: Path) -> None:
    net = network()
    first = trained(tmp_path / "a", net, epochs=2)
    second = WeightAverage(tmp_path / "b", network())
    second.load_state_dict(first.state_dict())
    for average, folder in ((first, "a"), (second, "b")):
        average.network = net
        average(Engine(lambda engine, batch: None))
        assert (tmp_path / folder / "average.pt").is_file()
    a, b = (torch.load(tmp_path / name / "average.pt", weights_only=True) for name in "ab")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["0.weight"], net.state_dict()["0.weight"])
