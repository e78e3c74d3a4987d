"""Splitting by whole groups."""

import numpy as np
import pytest

from monai_cellreg.data.split import split_by_group

# Sizes of the groups of the Data Science Bowl 2018 fluorescence images, by size and look.
SIZES = {"256-0": 28, "256-1": 72, "256-2": 41, "256-3": 30, "256-4": 30, "256-5": 46, "256-6": 57, "256-7": 30}
SIZES |= {"320-0": 4, "347-0": 3, "360-0": 48, "360-1": 36, "360-2": 6, "640-0": 13}
ITEMS = [{"group": group, "id": k} for group, size in SIZES.items() for k in range(size)]


def groups(part):
    return {item["group"] for item in part}


@pytest.mark.parametrize("seed", range(20))
def test_parts_share_no_group_lose_nothing_and_have_about_the_wanted_sizes(seed):
    parts = split_by_group(ITEMS, seed=seed)
    assert sum(map(len, parts)) == len(ITEMS)
    assert sum(len(groups(part)) for part in parts) == len(SIZES)
    np.testing.assert_allclose([len(part) / len(ITEMS) for part in parts], [0.7, 0.15, 0.15], atol=0.09)
    order = [ITEMS.index(item) for item in parts[0]]
    assert order == sorted(order)


def test_the_test_part_of_seed_0_holds_several_looks_and_sizes():
    test = groups(split_by_group(ITEMS)[2])
    assert len(test) >= 2
    assert any(name.startswith("256") for name in test) and not all(name.startswith("256") for name in test)


def test_the_seed_decides_and_the_order_of_the_items_does_not():
    shuffled = [ITEMS[k] for k in np.random.default_rng(0).permutation(len(ITEMS))]
    assert [groups(p) for p in split_by_group(ITEMS, seed=3)] == [groups(p) for p in split_by_group(shuffled, seed=3)]
    assert len({frozenset(groups(split_by_group(ITEMS, seed=seed)[2])) for seed in range(10)}) > 5


def test_every_part_gets_a_group_however_uneven_they_are():
    items = [{"group": name} for name, size in (("big", 50), ("one", 1), ("two", 2)) for _ in range(size)]
    for seed in range(6):
        assert [len(groups(part)) for part in split_by_group(items, seed=seed)] == [1, 1, 1]


def test_a_part_of_no_share_stays_empty():
    items = [{"group": name} for name in "ab"]
    training, validation, test = split_by_group(items, (0.5, 0.0, 0.5))
    assert (len(training), len(validation), len(test)) == (1, 0, 1)
    assert split_by_group(items, (1.0, 0.0, 0.0)) == (items, [], [])


def test_too_few_groups_and_wrong_fractions():
    with pytest.raises(ValueError, match="has 2 groups .a, b.; expected at least 3.*index.csv"):
        split_by_group([{"group": name} for name in "abab"])
    for fractions in [(0.5, 0.5, 0.5), (1.2, -0.1, -0.1), (0.5, 0.5), (float("nan"), 0.5, 0.5)]:
        with pytest.raises(ValueError, match="three shares from 0 to 1"):
            split_by_group(ITEMS, fractions)
