"""Statistics of what is known against NumPy's, and what every metric does before the first pair."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_cellreg.metrics import GridError, TargetRegistrationError
from monai_cellreg.metrics.pairwise import STATISTICS

ORACLE = {"mean": np.nanmean, "median": np.nanmedian, "max": np.nanmax}


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_statistics_leave_nan_out(name: str, count: int) -> None:
    values = np.random.default_rng(count).normal(size=(6, 9))
    for row in values:
        row[np.random.default_rng(9).permutation(9)[count:]] = np.nan
    expected = ORACLE[name](values, axis=1)
    np.testing.assert_allclose(STATISTICS[name](torch.from_numpy(values)), expected, rtol=1e-12)


@pytest.mark.parametrize("name", STATISTICS)
def test_nothing_known_is_nan_and_infinite_values_are_known(name: str) -> None:
    inf, nan = torch.inf, torch.nan
    assert STATISTICS[name](torch.full((2, 3), nan)).isnan().all()
    assert STATISTICS[name](torch.zeros(2, 0)).isnan().all()
    expected = {"mean": [inf, inf], "median": [inf, 1.5], "max": [inf, inf]}[name]
    assert STATISTICS[name](torch.tensor([[1, inf, inf, nan], [1.0, 1.0, 2.0, inf]])).tolist() == expected


def test_nothing_measured_yet_is_told() -> None:
    for metric in (GridError(), TargetRegistrationError()):
        with pytest.raises(ValueError, match=f"^{type(metric).__name__} has measured no pair yet"):
            metric.aggregate()


def test_unknown_statistics_are_refused() -> None:
    with pytest.raises(ValueError, match="^of_pair is 'medium', expected one of 'median', 'mean', 'max'"):
        TargetRegistrationError(of_pair="medium")
    with pytest.raises(ValueError, match="^over_pairs is 'sum', expected one of"):
        TargetRegistrationError(over_pairs="sum")
