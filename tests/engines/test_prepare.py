"""From a batch to the network's arguments and the truth."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_cellreg.engines import (
    PrepareImagePairs,
    PrepareKnownPairs,
    prepare_image_pairs,
    prepare_label_pairs,
    prepare_pairs,
)
from monai_cellreg.transforms import KnownPairs, PairAugmentation, RandomAppearance

SIZE = (16, 24)
KNOWN = {"fixed", "moving", "fixed_label", "moving_label", "fixed_to_moving"}


def pairs(seed: int = 0) -> KnownPairs:
    return KnownPairs(SIZE, (3, 4), torch.Generator().manual_seed(seed))


def batch() -> dict[str, Tensor]:
    image = torch.rand(2, 1, *SIZE, generator=torch.Generator().manual_seed(1))
    return {"image": MetaTensor(image), "label": MetaTensor((image > 0.5).float())}


@pytest.mark.parametrize("device", [None, "cpu", torch.device("cpu")])
def test_pairs_are_those_of_the_maker(device: torch.device | str | None) -> None:
    fixed, truth, args, kwargs = PrepareKnownPairs(pairs())(batch(), device)
    expected = pairs()(*(batch()[name].as_tensor() for name in ("image", "label")))
    assert truth.keys() == KNOWN and kwargs == {}
    assert fixed is truth["fixed"] and len(args) == 1 and args[0] is truth["moving"]
    for name in KNOWN:
        assert type(truth[name]) is torch.Tensor
        assert torch.equal(truth[name], expected[name])


def test_appearance_changes_both_images_independently_and_nothing_else() -> None:
    _, plain, _, _ = PrepareKnownPairs(pairs())(batch())
    appearance = RandomAppearance(torch.Generator().manual_seed(0))
    fixed, truth, (moving,), _ = PrepareKnownPairs(pairs(), appearance)(batch())
    again = RandomAppearance(torch.Generator().manual_seed(0))
    assert torch.equal(fixed, again(plain["fixed"])) and torch.equal(moving, again(plain["moving"]))
    for name in KNOWN - {"fixed", "moving"}:
        assert torch.equal(truth[name], plain[name])


def test_labels_take_the_place_of_the_images() -> None:
    _, plain, _, _ = PrepareKnownPairs(pairs())(batch())
    appearance = RandomAppearance(torch.Generator().manual_seed(0))
    fixed, truth, (moving,), _ = PrepareKnownPairs(pairs(), appearance, labels_only=True)(batch())
    for given, side in ((fixed, "fixed"), (moving, "moving")):
        assert given is truth[side] and torch.equal(given, plain[f"{side}_label"])
    assert torch.equal(truth["fixed_to_moving"], plain["fixed_to_moving"])


def made() -> dict[str, Tensor]:
    return {name: MetaTensor(torch.full((2, 1, *SIZE), float(k))) for k, name in enumerate(sorted(KNOWN))}


def test_labels_of_a_batch_take_the_place_of_its_images() -> None:
    fixed, truth, (moving,), _ = prepare_label_pairs({**made(), "group": ["a", "b"]}, "cpu")
    assert torch.equal(fixed, made()["fixed_label"].as_tensor()) and torch.equal(fixed, truth["fixed_label"])
    assert torch.equal(moving, made()["moving_label"].as_tensor()) and torch.equal(moving, truth["moving"])
    assert truth.keys() == KNOWN


def test_pairs_of_a_batch_are_passed_on_plain() -> None:
    fixed, truth, args, kwargs = prepare_pairs({**made(), "group": ["a", "b"]}, "cpu")
    assert truth.keys() == KNOWN and kwargs == {}
    assert fixed is truth["fixed"] and args == (truth["moving"],)
    for name, value in truth.items():
        assert type(value) is torch.Tensor
        assert torch.equal(value, made()[name].as_tensor())


@pytest.mark.parametrize("labels", [False, True])
def test_image_pairs_are_passed_on_with_the_labels_there_are(labels: bool) -> None:
    names = {"fixed", "moving"} | ({"fixed_label", "moving_label"} if labels else set())
    given = {name: made()[name] for name in names}
    fixed, known, args, kwargs = prepare_image_pairs({**given, "group": ["a", "b"]}, "cpu")
    assert known.keys() == names and kwargs == {}
    assert fixed is known["fixed"] and len(args) == 1 and args[0] is known["moving"]
    for name, value in known.items():
        assert type(value) is torch.Tensor and torch.equal(value, given[name].as_tensor())


def test_image_pairs_are_augmented_with_their_labels() -> None:
    image = batch()["image"].as_tensor()
    given = {"fixed": image, "moving": 1 - image, "fixed_label": (image > 0.5).float(), "group": ["a", "b"]}
    fixed, known, (moving,), _ = PrepareImagePairs(PairAugmentation(torch.Generator().manual_seed(3)))(given)
    expected = PairAugmentation(torch.Generator().manual_seed(3))({k: v for k, v in given.items() if k != "group"})
    assert fixed is known["fixed"] and moving is known["moving"] and not torch.equal(fixed, image)
    assert known.keys() == expected.keys() and all(torch.equal(known[name], expected[name]) for name in known)
