"""What every loss and metric costs beside the mean squared error, for the table in ``docs/losses_and_metrics.md``.
8 pairs of 320 x 320, one thread of the CPU; losses with their gradient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from .. import losses, metrics
from ..geometry import BSplineField, ThinPlateSplineField
from .losses import image_pair
from .timing import Candidate, Comparison, gradients, speed_command

PEER = "MSELoss"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table and writes ``costs.md`` and ``costs.json``."""
    speed_command("costs", __doc__, cases, repeats=5, arguments=arguments)


def cases(*, quick: bool) -> Iterator[Comparison]:
    """One case, in which the peer comes first; tiny where only running counts."""
    size, batch = ((32, 40), 2) if quick else ((320, 320), 8)
    ways = {**loss_candidates(size, batch), **metric_candidates(size, batch)}
    yield Comparison("cost", {PEER: ways.pop(PEER), **ways})


def loss_candidates(size: tuple[int, int], batch: int) -> dict[str, Candidate]:
    """Every loss by name, with default settings (LNCC with a window of 9), differentiated in its first argument."""
    pred, target = image_pair(size, batch)
    field = _noise(batch, 2, *size).requires_grad_()
    other, points = _noise(batch, 2, *size), 10 + _noise(batch, 100, 2)
    estimates = _noise(batch, 3, 2, *size).requires_grad_()  # as many as FlowNet gives
    mask = (target > 0.5).float()
    network = nn.Conv2d(1, 8, 3, padding=1)
    lattice_head, spline_head = BSplineField(size, 16), ThinPlateSplineField(size, (5, 5))
    coefficients = _noise(batch, *lattice_head.parameter_shape).requires_grad_()
    control = _noise(batch, *spline_head.parameter_shape).requires_grad_()
    of_images: dict[str, nn.Module] = {
        "MSELoss": losses.MSELoss(),
        "NCCLoss": losses.NCCLoss(),
        "LocalNormalizedCrossCorrelationLoss": losses.LocalNormalizedCrossCorrelationLoss(2, 9),
        "GlobalMutualInformationLoss": losses.GlobalMutualInformationLoss(),
        "NormalizedMutualInformationLoss": losses.NormalizedMutualInformationLoss(),
        "MINDSSCLoss": losses.MINDSSCLoss(),
        "NormalizedGradientFieldsLoss": losses.NormalizedGradientFieldsLoss(),
        "MultiScaleLoss": losses.MultiScaleLoss(losses.MSELoss()),
        "SegmentationFeatureLoss": losses.SegmentationFeatureLoss(network),
    }
    of_fields: dict[str, nn.Module] = {
        "DiffusionLoss": losses.DiffusionLoss(),
        "BendingEnergyLoss": losses.BendingEnergyLoss(),
        "CurvatureLoss": losses.CurvatureLoss(),
        "ElasticLoss": losses.ElasticLoss(),
        "FoldingLoss": losses.FoldingLoss(),
        "VolumeChangeLoss": losses.VolumeChangeLoss(),
    }
    cycle, both = losses.CycleConsistencyLoss(), (target, target)
    return {
        **{name: gradients(loss, pred, target) for name, loss in of_images.items()},
        **{name: gradients(loss, field) for name, loss in of_fields.items()},
        "BSplineDiffusionLoss": gradients(losses.BSplineDiffusionLoss(lattice_head.lattice), coefficients),
        "BSplineBendingLoss": gradients(losses.BSplineBendingLoss(lattice_head.lattice), coefficients),
        "ThinPlateSplineBendingLoss": gradients(
            losses.ThinPlateSplineBendingLoss(spline_head.get_buffer("control_points")), control
        ),
        "CycleConsistencyLoss": gradients(lambda x: cycle((x, x), both, (x, x), both), pred),
        "InverseConsistencyLoss": gradients(losses.InverseConsistencyLoss(), field, other),
        "PairSegmentationLoss": gradients(losses.PairSegmentationLoss(), pred, mask, target, mask),
        "LabelCrossEntropyLoss": gradients(losses.LabelCrossEntropyLoss(), pred, mask),
        "LandmarkDistanceLoss": gradients(losses.LandmarkDistanceLoss(), field, points, points + 1),
        "TransformationLoss": gradients(losses.TransformationLoss(), field, other),
        "MultiScaleFlowLoss": gradients(losses.MultiScaleFlowLoss(), estimates, other),
    }


def metric_candidates(size: tuple[int, int], batch: int) -> dict[str, Candidate]:
    """Every metric by name, of one batch."""
    field, other = 0.1 * _noise(batch, 2, *size), 0.1 * _noise(batch, 2, *size)
    label, points = (image_pair(size, batch)[1] > 0.5).int(), _noise(batch, 100, 2)
    shifted, errors = label.roll(3, dims=-1), points.norm(dim=-1)
    calls: dict[str, tuple[object, ...]] = {
        "Correlation": (field, other),
        "MaskIoU": (shifted, label),
        "LabelIoU": (shifted, label),
        "LabelDice": (shifted, label),
        "HausdorffDistance": (shifted, label),
        "MeanSurfaceDistance": (shifted, label),
        "TargetRegistrationError": (points + 1, points),
        "LandmarkRobustness": (errors, errors + 1),
        "GridError": (field, other),
        "FoldingFraction": (field,),
        "LogJacobianSpread": (field,),
        "InverseConsistencyError": (field, other),
    }
    return {name: _measured(name, arguments) for name, arguments in calls.items()}


def _measured(name: str, arguments: tuple[object, ...]) -> Candidate:
    def measure() -> object:
        return getattr(metrics, name)()(*arguments)

    return measure


def _noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


if __name__ == "__main__":
    main()
