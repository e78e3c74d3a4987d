"""Dividing items into training, validation and test parts by whole groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

__all__ = ["split_by_group"]

Item = TypeVar("Item", bound=Mapping[str, Any])

_PARTS = ("training", "validation", "test")


def split_by_group(
    items: Sequence[Item], fractions: tuple[float, float, float] = (0.7, 0.15, 0.15), *, seed: int = 0
) -> tuple[list[Item], list[Item], list[Item]]:
    """Divides items into training, validation and test parts so that no group is in two of them.

    Parts are filled from the smallest share to the largest (test before validation): each takes, in a seeded order, the
    groups that still fit into its share, at least one; the largest part takes all that remains. The result depends on
    the names and sizes of the groups and on the seed, not on the order of the items.

    Args:
        items: Dictionaries with the key "group".
        fractions: Wanted share of the items in each part; a part with 0 stays empty.
        seed: Seed of the order of the groups.

    Returns:
        The three parts, items in the order given.

    Raises:
        ValueError: If the fractions do not sum to 1, or there are fewer groups than parts to fill.

    Example:
        >>> items = [{"group": name, "id": k} for name in "abcd" for k in range(5)]
        >>> [len(part) for part in split_by_group(items, (0.5, 0.25, 0.25))]
        [10, 5, 5]
    """
    if len(fractions) != 3 or min(fractions) < 0 or not abs(sum(fractions) - 1) <= 1e-6:
        raise ValueError(f"fractions is {fractions}; expected three shares from 0 to 1 that sum to 1")
    sizes: dict[str, int] = defaultdict(int)
    for item in items:
        sizes[item["group"]] += 1
    filled = sorted((part for part in range(3) if fractions[part] > 0), key=lambda part: (fractions[part], -part))
    if len(sizes) < len(filled):
        raise ValueError(
            f"items has {len(sizes)} groups ({', '.join(sizes) or 'none'}); expected at least {len(filled)}, one for "
            f"each of {', '.join(_PARTS[part] for part in sorted(filled))}: add images of other groups, name groups in "
            "index.csv, or give a part the fraction 0"
        )
    names = sorted(sizes)
    remaining = [names[index] for index in np.random.default_rng(seed).permutation(len(names))]
    part_of: dict[str, int] = {}
    for position, part in enumerate(filled[:-1]):
        spare = len(remaining) - (len(filled) - 1 - position)  # groups that later parts can do without
        taken = _fitting(remaining, sizes, fractions[part] * len(items), spare)
        part_of.update(dict.fromkeys(taken, part))
        remaining = [name for name in remaining if name not in part_of]
    part_of.update(dict.fromkeys(remaining, filled[-1]))
    training, validation, test = ([item for item in items if part_of[item["group"]] == part] for part in range(3))
    return training, validation, test


def _fitting(names: Sequence[str], sizes: Mapping[str, int], wanted: float, most: int) -> list[str]:
    """Takes groups in order while they fit into the wanted number of items; the smallest group where none fits."""
    taken: list[str] = []
    for name in names:
        if len(taken) < most and sizes[name] <= wanted:
            taken.append(name)
            wanted -= sizes[name]
    return taken or [min(names, key=lambda name: sizes[name])]
