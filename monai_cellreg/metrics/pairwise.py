"""What the metrics share: a row of numbers a pair, kept by MONAI, and statistics that know what is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from monai.metrics import CumulativeIterationMetric
from torch import Tensor

from ..utils import check_choice, check_finite, check_same_shape, format_shape


def known_mean(values: Tensor) -> Tensor:
    """Mean (...) of the values (..., N) that are not NaN; NaN where none is."""
    return values.nanmean(-1)


def known_median(values: Tensor) -> Tensor:
    """Median (...) of the values (..., N) that are not NaN, the mean of the middle two of an even number, as NumPy's.

    ``torch.nanmedian`` gives the lower of the two, ``torch.nanquantile`` NaN beside an infinite value.
    """
    ordered = _with_nan(values).sort(dim=-1).values  # NaN last
    count = (~values.isnan()).sum(-1, keepdim=True)
    lower, upper = (ordered.gather(-1, k.clamp(min=0)) for k in ((count - 1) // 2, count // 2))
    return torch.where(lower == upper, lower, (lower + upper) / 2)[..., 0]


def known_max(values: Tensor) -> Tensor:
    """Largest (...) of the values (..., N) that are not NaN; NaN where none is."""
    values = _with_nan(values)
    largest = values.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf).amax(-1)
    return torch.where(values.isnan().all(-1), torch.nan, largest)


def _with_nan(values: Tensor) -> Tensor:
    """One NaN more, so that there is a last axis to reduce."""
    return torch.cat([values, values.new_full((*values.shape[:-1], 1), torch.nan)], dim=-1)


STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {"mean": known_mean, "median": known_median, "max": known_max}


class PairMetric(CumulativeIterationMetric):
    """A MONAI cumulative metric of one row of numbers a pair.

    A number that could not be measured (no landmark, a label that neither side has) is NaN in its row and left out of
    the statistics, which are NaN only when nothing at all could be measured. ``get_buffer`` gives the rows of all
    processes; there each must have measured one pair at least, or MONAI's exchange waits for it.
    """

    def rows(self) -> Tensor:
        """One row a pair so far, of all processes: (pairs, numbers).

        Raises:
            ValueError: before the first pair.
        """
        rows = self.get_buffer()
        if rows is None:
            raise ValueError(f"{type(self).__name__} has measured no pair yet; call it on a batch before aggregate()")
        return rows

    def aggregate(self) -> Tensor:
        """Mean over the pairs so far of the mean of each row, a scalar."""
        return known_mean(known_mean(self.rows()))


class PairStatistics(PairMetric):
    """A metric whose rows hold several named numbers, one of which :meth:`aggregate` follows.

    Args:
        of_pair: the number of each pair that ``aggregate`` reduces, one of ``columns``.
        over_pairs: how it reduces them: ``"mean"``, ``"median"`` or ``"max"``.

    Raises:
        ValueError: for an unknown name.
    """

    columns: ClassVar[tuple[str, ...]]
    """Names of the numbers in a row."""

    def __init__(self, *, of_pair: str, over_pairs: str = "mean") -> None:
        super().__init__()
        check_choice("of_pair", of_pair, self.columns)
        check_choice("over_pairs", over_pairs, STATISTICS)
        self.of_pair, self.over_pairs = of_pair, over_pairs

    def aggregate(self) -> Tensor:
        """The chosen number of each pair, reduced over the pairs so far as chosen: a scalar."""
        return STATISTICS[self.over_pairs](self.rows()[:, self.columns.index(self.of_pair)])

    def statistics(self) -> dict[str, float]:
        """Every number reduced in every way, named ``<over pairs>_<of pair>``, such as ``median_mean``."""
        rows = self.rows().T  # (numbers, pairs)
        return {
            f"{over}_{column}": float(reduce(row))
            for over, reduce in STATISTICS.items()
            for column, row in zip(self.columns, rows, strict=True)
        }


def check_pair(y_pred: Tensor, y: Tensor | None, expected: str) -> Tensor:
    """``y`` when there is one of the shape of ``y_pred``.

    Args:
        y_pred: what is measured.
        y: what it is compared with.
        expected: the axes of both, for the error.

    Raises:
        ValueError: when ``y`` is missing or has another shape.
    """
    if y is None:
        raise ValueError(f"y is None, expected the {expected} that y_pred ({format_shape(y_pred.shape)}) belongs to")
    check_same_shape("y_pred", y_pred.shape, "y", y.shape)
    return y


def checked_field(name: str, field: Tensor) -> Tensor:
    """A voxel field (B, D, *spatial) in float32 at least.

    Raises:
        ValueError: for another shape, or a value that is NaN or infinite: a failed registration must not pass for one
            that was not measured.
    """
    dims = field.ndim - 2
    if dims not in (2, 3) or field.shape[1] != dims:
        raise ValueError(f"{name} has shape {format_shape(field.shape)}, expected a voxel field (B, D, *spatial)")
    check_finite(name, field)
    return field.to(torch.promote_types(field.dtype, torch.float32))
