"""One step of the trainer against the step written out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.engines.utils import IterationEvents
from torch import Tensor, nn

from monai_cellreg.engines import RegistrationTrainer
from monai_cellreg.losses import Objective, Term


class Blend(nn.Module):
    """A network that predicts ``weight * fixed - moving`` and remembers the precision of its product."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[2.0]]))

    def forward(self, fixed: Tensor, moving: Tensor) -> dict[str, Tensor]:
        product = fixed @ self.weight
        self.dtype = product.dtype
        return {"blend": product.float() - moving}


def trainer(network: Blend, **options: Any) -> RegistrationTrainer:
    def prepare(batch: dict[str, Tensor], device: torch.device, non_blocking: bool) -> tuple:
        return batch["fixed"], {"truth": batch["truth"]}, (batch["moving"],), {}

    batch = {"fixed": torch.tensor([[1.0], [3.0]]), "moving": torch.tensor([[0.5], [1.0]]), "truth": torch.zeros(2, 1)}
    return RegistrationTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=[batch],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=Objective(
            {"square": Term(nn.MSELoss(), ["blend", "truth"], 0.5), "size": Term(nn.L1Loss(), ["blend", "truth"], 2.0)}
        ),
        prepare_batch=prepare,
        decollate=False,
        **options,
    )


def test_output_and_step() -> None:
    network = Blend().eval()
    engine = trainer(network)
    engine.run()
    square, size = (1.5**2 + 5**2) / 2, (1.5 + 5) / 2  # 2 * 1 - 0.5 and 2 * 3 - 1
    loss = 0.5 * square + 2 * size
    output = engine.state.output
    assert output["terms"] == pytest.approx({"square": square, "size": size, "loss": loss})
    assert output["loss"] == pytest.approx(loss)
    assert all(type(value) is float for value in output["terms"].values())
    assert output["pred"]["blend"].tolist() == [[1.5], [5.0]] and not output["pred"]["blend"].requires_grad
    gradient = 0.5 * (1.5 * 1 + 5 * 3) + 2 * (1 + 3) / 2
    assert network.weight.item() == pytest.approx(2 - 0.1 * gradient)
    assert network.training


def test_gradients_do_not_add_up_over_steps() -> None:
    network = Blend()
    engine = trainer(network)
    network.weight.grad = torch.tensor([[100.0]])
    engine.run()
    assert network.weight.grad.item() == pytest.approx(0.5 * (1.5 + 15) + 4)


def test_events_of_monai_are_fired_in_order() -> None:
    engine, fired = trainer(Blend()), []
    for event in IterationEvents:
        if event.name.endswith("COMPLETED"):
            engine.add_event_handler(event, lambda engine, name: fired.append(name), event.name)
    engine.run()
    steps = ["FORWARD", "LOSS", "BACKWARD", "MODEL"]
    assert [name for name in fired if not name.startswith("INNER")] == [f"{step}_COMPLETED" for step in steps]


@pytest.mark.parametrize("amp, dtype", [(False, torch.float32), (True, torch.bfloat16)])
@pytest.mark.filterwarnings("ignore:.*GradScaler")
def test_amp_is_bfloat16_on_the_cpu_too(amp: bool, dtype: torch.dtype) -> None:
    network = Blend()
    trainer(network, amp=amp).run()
    assert network.dtype == dtype
    assert network.weight.dtype == torch.float32
