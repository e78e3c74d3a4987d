"""Joint histograms against NumPy, SciPy and what a Parzen window has to keep."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from torch import Tensor

from monai_cellreg.losses import parzen
from monai_cellreg.losses.parzen import ParzenWindow, box_window, cubic_window, gaussian_window, joint_histogram

BINS = 9


def intensities(batch: int = 2, count: int = 500) -> list[Tensor]:
    """Two images (batch, count) in bins, at least two bins from the ends, and a weight; float64."""
    pred, target, weight = torch.rand(3, batch, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return [2 + 4 * pred, 2 + 4 * (0.5 * pred + 0.5 * target), weight]


def test_boxes_count_as_a_histogram_does() -> None:
    pred, target, weight = intensities()
    edges = np.arange(BINS + 1) - 0.5
    for given in (None, weight):
        found = joint_histogram(pred, target, given, num_bins=BINS, windows=(box_window, box_window))
        for k in range(2):
            weights = None if given is None else given[k].numpy()
            counts = np.histogram2d(pred[k], target[k], (edges, edges), weights=weights)[0]
            np.testing.assert_allclose(found[k], counts / counts.sum(), rtol=0, atol=1e-12)


def test_cubic_window_is_the_cubic_b_spline() -> None:
    distance = torch.linspace(-2.5, 2.5, 101, dtype=torch.float64)
    expected = BSpline.basis_element(np.arange(-2, 3))(distance.clamp(-2, 2))
    np.testing.assert_allclose(cubic_window(distance), expected, rtol=0, atol=1e-14)


def test_gaussian_window_is_a_normalised_gaussian() -> None:
    distance = (torch.tensor([[2.2, 5.0]]) - torch.arange(BINS)[:, None])[None]
    raw = np.exp(-(distance.numpy() ** 2) / (2 * 0.7**2))
    np.testing.assert_allclose(gaussian_window(0.7)(distance), raw / raw.sum(1, keepdims=True), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("window", [box_window, cubic_window, gaussian_window(0.5)])
def test_weights_sum_to_one(window: ParzenWindow) -> None:
    intensity = torch.cat([intensities()[0][0], torch.tensor([2.0, 2.5, 6.0])])
    weights = window((intensity - torch.arange(BINS)[:, None])[None])
    torch.testing.assert_close(weights.sum(1), torch.ones_like(weights[:, 0]), rtol=0, atol=1e-12)
    assert float(weights.min()) >= -1e-15


def test_pred_is_along_the_rows() -> None:
    joint = joint_histogram(
        torch.tensor([[3.0]]), torch.tensor([[5.0]]), None, num_bins=BINS, windows=(cubic_window, box_window)
    )
    assert joint[0, 3, 5] == pytest.approx(2 / 3)
    assert joint[0, :, 5].sum() == pytest.approx(1)


@pytest.mark.parametrize("chunk", [1, 3, 700, 10_000])
def test_size_of_the_chunks_does_not_matter(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    pred, target, weight = intensities()
    windows = (gaussian_window(0.5), cubic_window)
    factors = torch.rand(2, BINS, BINS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def run() -> tuple[Tensor, Tensor]:
        x = pred.clone().requires_grad_()
        joint = joint_histogram(x, target, weight, num_bins=BINS, windows=windows)
        return joint.detach(), torch.autograd.grad((factors * joint).sum(), x)[0]

    expected = run()
    monkeypatch.setattr(parzen, "CHUNK", chunk)
    for found, wanted in zip(run(), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
