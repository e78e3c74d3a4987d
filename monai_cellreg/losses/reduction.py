"""The reductions of a loss."""

from __future__ import annotations

from monai.utils import LossReduction

from ..utils import check_choice


def check_reduction(reduction: LossReduction | str) -> str:
    """``reduction`` as text, when it is ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: for another.
    """
    check_choice("reduction", reduction, [choice.value for choice in LossReduction])
    return LossReduction(reduction).value
