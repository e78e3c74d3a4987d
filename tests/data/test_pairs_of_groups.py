"""Pairs are two different images of one group; training draws new ones, validation keeps its list."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from monai_cellreg.data import PairsOfGroups

SIZES = {"a": 2, "b": 1, "c": 5, "d": 3}


def items(labelled: str = "") -> list[dict[str, Any]]:
    """Images of three groups and one alone, mixed up; each holds a number of its own."""
    names = sorted(((name, k) for name, size in SIZES.items() for k in range(size)), key=lambda item: item[1])
    found: list[dict[str, Any]] = []
    for number, (name, k) in enumerate(names):
        found.append({"image": torch.full((1, 2, 3), float(number)), "group": name})
        if f"{name}{k}" in labelled:
            found[-1]["label"] = torch.full((1, 2, 3), float(number % 2))
    return found


def numbers(pair: dict[str, Any]) -> tuple[int, int]:
    return int(pair["fixed"].unique()), int(pair["moving"].unique())


GROUP = {number: item["group"] for number, item in enumerate(items())}


@pytest.mark.parametrize("generator", [None, torch.Generator().manual_seed(3)])
def test_every_pair_is_of_two_images_of_its_group(generator: torch.Generator | None) -> None:
    for pair in PairsOfGroups(items(), 25, generator=generator):
        fixed, moving = numbers(pair)
        assert fixed != moving and pair["group"] == GROUP[fixed] == GROUP[moving] != "b"
        assert set(pair) == {"fixed", "moving", "group"}


def test_images_come_equally_often_and_so_do_the_partners_of_each() -> None:
    pairs = PairsOfGroups(items(), 6000, generator=torch.Generator().manual_seed(0))
    drawn = Counter(numbers(pair) for pair in pairs)
    assert len(drawn) == 2 * 1 + 5 * 4 + 3 * 2
    for (fixed, _), count in drawn.items():
        expected = 6000 / 10 / (SIZES[GROUP[fixed]] - 1)
        assert abs(count - expected) < 5 * expected**0.5


def test_generator_alone_decides_and_every_epoch_is_new() -> None:
    generator = torch.Generator().manual_seed(5)
    pairs = PairsOfGroups(items(), 12, generator=generator)
    first, second = ([numbers(pair) for pair in pairs] for _ in range(2))
    generator.manual_seed(5)
    assert first == [numbers(pair) for pair in pairs] and first != second


def test_fixed_list_is_the_same_at_every_access_and_holds_no_pair_twice() -> None:
    pairs = PairsOfGroups(items(), 20, seed=1)
    drawn = [numbers(pairs[k]) for k in range(20)]
    assert len(set(drawn)) == len(drawn) == len(pairs)
    assert drawn == [numbers(pair) for pair in PairsOfGroups(items(), 20, seed=1)]
    assert drawn != [numbers(pair) for pair in PairsOfGroups(items(), 20, seed=2)]
    assert numbers(pairs[-1]) == drawn[-1]


def test_fixed_list_ends_with_the_last_different_pair() -> None:
    pairs = PairsOfGroups(items(), 1000)
    assert len(pairs) == len({numbers(pair) for pair in pairs}) == 28
    assert len(PairsOfGroups(items(), 1000, generator=torch.Generator())) == 1000


def test_validation_pairs_what_is_labelled() -> None:
    pairs = PairsOfGroups(items("a0 c1 c3 c4 d0"), 100)
    assert len(pairs) == 6 and {pair["group"] for pair in pairs} == {"c"}
    for pair in pairs:
        for side, number in zip(("fixed", "moving"), numbers(pair), strict=True):
            assert (pair[f"{side}_label"] == number % 2).all()


def test_every_batch_of_a_training_has_the_same_keys() -> None:
    some = PairsOfGroups(items("a0 a1 c1 c3 c4"), 64, generator=torch.Generator())
    assert all("fixed_label" not in batch for batch in DataLoader(some, 8))
    all_but_the_one_alone = PairsOfGroups(items("a0 a1 c0 c1 c2 c3 c4 d0 d1 d2"), 8, generator=torch.Generator())
    batch = next(iter(DataLoader(all_but_the_one_alone, 4)))
    assert batch["fixed_label"].shape == batch["moving"].shape == (4, 1, 2, 3)


def test_what_makes_no_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="items are 2 images in 2 groups, none of which has two"):
        PairsOfGroups(items()[:2], 4)
    with pytest.raises(ValueError, match="count is 0"):
        PairsOfGroups(items(), 0)
    with pytest.raises(IndexError, match="index is 4; expected 0 to 3"):
        PairsOfGroups(items(), 4)[4]


def test_pair_is_of_the_subject_of_its_fixed_image() -> None:
    named = [{**item, "subject": f"s{number}"} for number, item in enumerate(items())]
    for pairs in (PairsOfGroups(named, 9), PairsOfGroups(named, 9, generator=torch.Generator())):
        assert all(pair["subject"] == f"s{numbers(pair)[0]}" for pair in pairs)
