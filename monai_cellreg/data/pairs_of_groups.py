"""Pairs of images of one group, drawn anew in each epoch for training or once for validation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from ..utils import check_positive

__all__ = ["PairsOfGroups"]


class PairsOfGroups(Dataset[dict[str, Any]]):
    """Pairs of two different images of one group.

    The fixed image is drawn uniformly from all, and the moving one uniformly from the others of its group: groups come
    in proportion to their size, so that every image is seen equally often. Groups of one image are left out.

    With a generator, every access draws a new pair from it, as training wants; the index only says where an epoch
    ends. Load such pairs in the main process (``num_workers=0``), since workers would each have a copy of the
    generator. Without one, the pairs are drawn once, all different, as validation wants; where a group has two or more
    labelled images, only labelled ones are paired, so that overlap can be measured.

    Args:
        items: dictionaries with ``image`` (1, *S), ``group`` and perhaps ``label`` (1, *S), as
            :func:`~monai_cellreg.data.image_groups.group_items` gives them; all images of one size.
        count: number of pairs; without a generator at most as many as there are.
        generator: source of the draws, on the CPU; see :class:`~monai_cellreg.engines.EpochSeed`.
        seed: of the fixed list of pairs, without a generator.

    Raises:
        ValueError: when no group has two images, or ``count`` is below 1.

    Example:
        >>> items = [{"image": torch.full((1, 2, 2), float(k)), "group": "ab"[k > 2]} for k in range(5)]
        >>> pairs = PairsOfGroups(items, 8)  # 3 * 2 + 2 * 1 different pairs
        >>> len(pairs), sorted({pair["group"] for pair in pairs})
        (8, ['a', 'b'])
    """

    def __init__(
        self,
        items: Sequence[Mapping[str, Any]],
        count: int,
        *,
        generator: torch.Generator | None = None,
        seed: int = 0,
    ) -> None:
        check_positive("count", count)
        self._items = _paired(items)
        if not self._items:
            raise ValueError(
                f"items are {len(items)} images in {len({item['group'] for item in items})} groups, none of which has "
                "two; expected a group of two or more images, which make a pair"
            )
        if generator is None:
            self._items = _paired([item for item in self._items if "label" in item]) or self._items
        self._members: dict[str, list[int]] = defaultdict(list)
        self._places: list[int] = []  # of each item among the members of its group
        for index, item in enumerate(self._items):
            self._places.append(len(self._members[item["group"]]))
            self._members[item["group"]].append(index)
        self._with_labels = all("label" in item for item in self._items)  # a batch needs the same keys in all pairs
        self._generator = generator
        self._fixed_list = None if generator is not None else self._different(count, seed)
        self._count = int(count) if self._fixed_list is None else len(self._fixed_list)

    def __len__(self) -> int:
        """Number of pairs."""
        return self._count

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A pair: ``fixed``, ``moving`` (1, *S), ``group``, and ``fixed_label``, ``moving_label`` if all have labels.

        Where the items name a ``subject``, the pair has that of the fixed image.

        Raises:
            IndexError: for an index beyond the last pair.
        """
        if not -self._count <= index < self._count:
            raise IndexError(f"index is {index}; expected 0 to {self._count - 1}")
        if self._fixed_list is None:
            assert self._generator is not None
            fixed, moving = self._draw(self._generator)
        else:
            fixed, moving = self._fixed_list[index]
        pair = {name: self._items[fixed][name] for name in ("group", "subject") if name in self._items[fixed]}
        for side, chosen in (("fixed", self._items[fixed]), ("moving", self._items[moving])):
            pair[side] = chosen["image"]
            if self._with_labels:
                pair[f"{side}_label"] = chosen["label"]
        return pair

    def _draw(self, generator: torch.Generator) -> tuple[int, int]:
        fixed = _below(len(self._items), generator)
        members, place = self._members[self._items[fixed]["group"]], self._places[fixed]
        other = _below(len(members) - 1, generator)
        return fixed, members[other + (other >= place)]

    def _different(self, count: int, seed: int) -> list[tuple[int, int]]:
        generator = torch.Generator().manual_seed(seed)
        wanted = min(int(count), sum(len(members) * (len(members) - 1) for members in self._members.values()))
        drawn: dict[tuple[int, int], None] = {}  # a set that keeps the order
        while len(drawn) < wanted:
            drawn[self._draw(generator)] = None
        return list(drawn)


def _below(end: int, generator: torch.Generator) -> int:
    return int(torch.randint(end, (), generator=generator))


def _paired(items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The items whose group has another one."""
    sizes: dict[str, int] = defaultdict(int)
    for item in items:
        sizes[item["group"]] += 1
    return [item for item in items if sizes[item["group"]] > 1]
