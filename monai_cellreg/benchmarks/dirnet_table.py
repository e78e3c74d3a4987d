"""The tables of hearts and digits as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .dirnet_networks import PAPER
from .journal import Row
from .markdown import markdown_table
from .paired_summary import PairedScore, PairedSummary

__all__ = ["digits_table", "hearts_table", "remarks"]


def hearts_table(lines: Sequence[PairedSummary], unit: str, peer: str) -> str:
    """Every method beside the paper's figures; columns that nothing fills are left out.

    Args:
        lines: a summary a method.
        unit: of lengths.
        peer: the method that the others are tested against.
    """
    paper = [PAPER.get(line.method) for line in lines]
    columns = {"method": [line.method for line in lines]}
    for score, title, digits in (("dice", "Dice", 3), ("hd95", f"HD95, {unit}", 2), ("msd", f"MAD, {unit}", 2)):
        columns[f"paper {title.replace(unit, 'mm')}"] = [
            getattr(figures, score) if figures else "" for figures in paper
        ]
        columns[title] = [_spread(line.scores[score], digits) for line in lines]
        if score == "dice":
            columns |= _tested(lines, score, peer, "patients")
    return markdown_table(columns | _rest(lines, "folding_fraction", "ncc"))


def digits_table(lines: Sequence[PairedSummary], rows: Sequence[Row], peer: str) -> str:
    """Every method over all digits, and below its correlation digit by digit.

    Args:
        lines: a summary a method.
        rows: of all pairs.
        peer: the method that the others are tested against.
    """
    columns = {"method": [line.method for line in lines], "NCC": [_spread(line.scores["ncc"], 3) for line in lines]}
    columns |= _tested(lines, "ncc", peer, "digits")
    columns["Dice"] = [_spread(line.scores["dice"], 3) for line in lines]
    parts = [markdown_table(columns | _rest(lines, "folding_fraction")), "NCC of each digit:"]
    by_digit = {"method": [line.method for line in lines]}
    for digit in sorted({row["group"] for row in rows}):
        found = [[row["ncc"] for row in rows if (row["name"], row["group"]) == (line.method, digit)] for line in lines]
        by_digit[digit] = [_number(sum(values) / len(values), ".3f") for values in found]
    return "\n\n".join([*parts, markdown_table(by_digit)])


def remarks(lines: Sequence[PairedSummary]) -> list[str]:
    """A sentence on every method that gave no map for a pair."""
    return [
        f"{line.method} gave no map for {line.failed} of {line.pairs * line.seeds} pairs: unregistered."
        for line in lines
        if line.failed
    ]


def _tested(lines: Sequence[PairedSummary], score: str, peer: str, groups: str) -> dict[str, list[str]]:
    """How much better than the peer, and the tests."""
    found = [line.scores[score] for line in lines]
    return {
        f"above {peer}": [_number(each.gain, "+.3f") for each in found],
        "p, pairs": [_number(each.p_pairs, ".2g") for each in found],
        f"p, {groups}": [_number(each.p_groups, ".2g") for each in found],
    }


def _rest(lines: Sequence[PairedSummary], folding: str, ncc: str = "") -> dict[str, list[str]]:
    columns = {"NCC": [_number(line.scores[ncc].mean, ".3f") for line in lines]} if ncc else {}
    return {
        **columns,
        "folding, %": [_number(100 * line.scores[folding].mean, ".2g") for line in lines],
        "seeds": [str(line.seeds) if line.seeds > 1 else "" for line in lines],
        "s a pair": [_number(line.seconds, ".2g") for line in lines],
        "of elastix's time": [_number(line.of_peer, ".2g") for line in lines],
    }


def _number(value: float, digits: str) -> str:
    return "" if math.isnan(value) else format(value, digits)


def _spread(score: PairedScore, digits: int) -> str:
    mean = _number(score.mean, f".{digits}f")
    return mean if math.isnan(score.std) else f"{mean} ± {score.std:.{digits}f}"
