"""What every metric keeps, in 2D and 3D. A new metric is tested by one more line in METRICS."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.handlers import IgniteMetricHandler
from monai.metrics import CumulativeIterationMetric
from torch import Tensor, distributed, multiprocessing

from monai_cellreg import metrics

SIZE = {2: (8, 11), 3: (6, 7, 8)}
PAIRS = 5
Given = tuple[Tensor, Tensor]


def smooth_fields(dims: int, generator: torch.Generator) -> Given:
    coarse = torch.randn(2, PAIRS, dims, *[3] * dims, generator=generator)
    mode = "bilinear" if dims == 2 else "trilinear"
    there, back = (torch.nn.functional.interpolate(field, SIZE[dims], mode=mode) for field in coarse)
    return there, back


def masks(dims: int, generator: torch.Generator) -> Given:
    there, back = torch.rand(2, PAIRS, 1, *SIZE[dims], generator=generator)
    return there, (back > 0.4).float()


def label_maps(dims: int, generator: torch.Generator) -> Given:
    """Labels 0 to 2; the second pair lacks label 2 on both sides."""
    there, back = torch.randint(0, 3, (2, PAIRS, 1, *SIZE[dims]), generator=generator)
    there[1].clamp_(max=1), back[1].clamp_(max=1)
    return there, back


def landmarks(dims: int, generator: torch.Generator) -> Given:
    """Seven landmarks a pair, fewer of the third, none of the fourth."""
    mapped, moving = 50 * torch.rand(2, PAIRS, 7, dims, generator=generator)
    moving[2, 4:] = moving[3] = torch.nan
    return mapped, moving


def errors(dims: int, generator: torch.Generator) -> Given:
    after, before = torch.rand(2, PAIRS, 7, generator=generator)
    after[2, 4:] = before[2, 4:] = torch.nan
    return after, before


METRICS: dict[str, tuple[Callable[[], metrics.pairwise.PairMetric], Callable[[int, torch.Generator], Given]]] = {
    "folding": (metrics.FoldingFraction, smooth_fields),
    "log-jacobian": (lambda: metrics.LogJacobianSpread(border=1), smooth_fields),
    "grid error": (metrics.GridError, smooth_fields),
    "inverse consistency": (metrics.InverseConsistencyError, smooth_fields),
    "correlation": (metrics.Correlation, masks),
    "mask iou": (metrics.MaskIoU, masks),
    "dice": (lambda: metrics.LabelDice([1, 2]), label_maps),
    "iou": (lambda: metrics.LabelIoU([1, 2]), label_maps),
    "hausdorff": (lambda: metrics.HausdorffDistance([1, 2]), label_maps),
    "surface": (lambda: metrics.MeanSurfaceDistance([1, 2]), label_maps),
    "tre": (metrics.TargetRegistrationError, landmarks),
    "median tre": (lambda: metrics.TargetRegistrationError(of_pair="mean", over_pairs="median"), landmarks),
    "robustness": (metrics.LandmarkRobustness, errors),
}


def given(name: str, dims: int = 2) -> Given:
    return METRICS[name][1](dims, torch.Generator().manual_seed(0))


@pytest.fixture(params=METRICS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_every_public_metric_is_tested_here() -> None:
    public = {value for value in vars(metrics).values() if inspect.isclass(value)}
    assert public == {type(make()) for make, _ in METRICS.values()}
    assert all(issubclass(metric, CumulativeIterationMetric) for metric in public)


def test_batches_lists_and_single_pairs_give_the_rows_of_one_batch(name: str, spatial_dims: int) -> None:
    y_pred, y = given(name, spatial_dims)
    copies = y_pred.clone(), y.clone()
    whole, parts, single, as_list = (METRICS[name][0]() for _ in range(4))
    rows = whole(y_pred, y)
    assert len(rows) == PAIRS and rows.isfinite().any() and rows.std(0, correction=0).nan_to_num(nan=1).gt(0).any()
    parts(y_pred[:2], y[:2]), parts(y_pred[2:], y[2:])
    for k in range(PAIRS):
        single(y_pred[k : k + 1], y[k : k + 1])
    as_list(list(y_pred), list(y))
    for other in (whole, parts, single, as_list):
        torch.testing.assert_close(other.get_buffer(), rows, equal_nan=True)
        torch.testing.assert_close(other.aggregate(), whole.aggregate())
    for before, after in zip(copies, (y_pred, y), strict=True):
        assert torch.equal(before.nan_to_num(), after.nan_to_num()), "inputs were modified"


def test_aggregate_is_a_known_scalar_and_reset_forgets(name: str) -> None:
    y_pred, y = given(name)
    metric = METRICS[name][0]()
    metric(y_pred, y)
    whole = metric.aggregate()
    assert whole.shape == () and whole.isfinite()
    metric.reset()
    metric(y_pred[:1], y[:1])
    alone = METRICS[name][0]()
    alone(y_pred[:1], y[:1])
    assert metric.aggregate() == alone.aggregate() != whole


def test_gradient_is_not_kept(name: str) -> None:
    y_pred, y = given(name)
    if y_pred.is_floating_point():
        assert not METRICS[name][0]()(y_pred.requires_grad_(), y).requires_grad


def test_engine_reports_a_number_and_keeps_the_rows(name: str) -> None:
    y_pred, y = given(name)
    engine = Engine(lambda _, k: (y_pred[k], y[k]))
    IgniteMetricHandler(metric_fn=METRICS[name][0]()).attach(engine, "measured")
    engine.run([slice(0, 2), slice(2, PAIRS)])
    whole = METRICS[name][0]()
    rows = whole(y_pred, y)
    assert isinstance(engine.state.metrics["measured"], float)
    assert engine.state.metrics["measured"] == pytest.approx(whole.aggregate().item(), rel=1e-6)
    torch.testing.assert_close(engine.state.metric_details["measured"], rows, equal_nan=True)


def measured_by_one_of_two(rank: int, folder: Path) -> None:
    """Measures three of the pairs, or the other two, and writes what both found together."""
    torch.set_num_threads(1)  # the threads of the parent did not come along
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    found = {}
    for name, (make, _) in METRICS.items():
        metric, (y_pred, y) = make(), given(name)
        for k in range(3) if rank == 0 else range(3, PAIRS):
            metric(y_pred[k : k + 1], y[k : k + 1])
        found[name] = metric.aggregate(), metric.get_buffer()
    torch.save(found, folder / f"{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    multiprocessing.start_processes(measured_by_one_of_two, (tmp_path,), nprocs=2, start_method="fork")
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found.keys() == METRICS.keys()
        for name, (aggregated, rows) in found.items():
            metric = METRICS[name][0]()
            np.testing.assert_allclose(rows, metric(*given(name)), rtol=1e-6, err_msg=name)
            np.testing.assert_allclose(aggregated, metric.aggregate(), rtol=1e-6, err_msg=name)
