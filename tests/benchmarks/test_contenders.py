"""What each method of a benchmark is shown and gives, and who can take part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from monai_cellreg.benchmarks import contenders
from monai_cellreg.benchmarks.contenders import (
    Contender,
    Found,
    check_methods,
    found_scores,
    identity_map,
    named_contenders,
    network_of,
)
from monai_cellreg.geometry import AffineTransform, Pair, SamplingGrid, SpatialTransform
from monai_cellreg.methods import Method, load_method

GRID = SamplingGrid((5, 7), np.diag([2.0, 3.0, 1.0]), unit="mm")


def pair() -> Pair:
    image, label = torch.rand(1, 5, 7), torch.ones(1, 5, 7)
    return Pair(image, image + 1, GRID, GRID, fixed_label=label, moving_label=label)


class Shift:
    """Answers with a shift in rows of the pair's number in the batch; refuses batches of more than ``most``."""

    def __init__(self, most: int = 9) -> None:
        self.most, self.seen = most, list[Pair]()

    def register(self, pair: Pair) -> SpatialTransform:
        self.seen.append(pair)
        if self.most < 1:
            raise RuntimeError("no\n  way")
        return AffineTransform.translation([9.0, 0.0])

    def register_batch(self, pairs: Sequence[Pair]) -> list[SpatialTransform]:
        if len(pairs) > self.most:
            raise ValueError("too many")
        self.seen += pairs
        return [AffineTransform.translation([float(k), 0.0]) for k in range(len(pairs))]


def rows(found: Sequence[Found]) -> list[float | None]:
    return [None if f.transform is None else float(f.transform.points(np.zeros((1, 2)))[0, 0]) for f in found]


def test_batches_where_they_can_be_and_never_with_labels() -> None:
    together, alone, broken = Shift(), Shift(1), Shift(0)
    assert rows(Contender("a", together, "a").register([pair(), pair()])) == [0.0, 1.0]
    assert rows(Contender("a", alone, "a").register([pair(), pair()])) == [9.0, 9.0]
    found = Contender("a", broken, "a").register([pair()])
    assert rows(found) == [None] and found[0].failure == "RuntimeError: no way" and found[0].seconds > 0
    seen = [*together.seen, *alone.seen, *broken.seen]
    assert len(seen) == 5 and all(each.fixed_label is None and each.moving_label is None for each in seen)
    assert all(each.fixed_grid is GRID for each in seen)


def test_scores_of_what_was_found_else_of_the_identity() -> None:
    def score(pair: Pair, transform: SpatialTransform) -> dict[str, float]:
        row = float(transform.points(np.zeros((1, 2)))[0, 0])
        if np.isnan(row):
            raise ValueError("not a\nnumber")
        return {"row": row}

    right = Found(AffineTransform.translation([4.0, 0.0]), 0.5)
    assert found_scores(pair(), right, score) == {"failure": None, "seconds": 0.5, "row": 4.0}
    none = Found(None, 0.25, "no")
    assert found_scores(pair(), none, score) == {"failure": "no", "seconds": 0.25, "row": 0.0}
    lost = Found(AffineTransform.translation([float("nan"), 0.0]), 0.5)
    assert found_scores(pair(), lost, score) == {"failure": "ValueError: not a number", "seconds": 0.5, "row": 0.0}
    points = np.array([[1.5, -2.0]])
    np.testing.assert_array_equal(identity_map(pair()).points(points), points)


def test_methods_that_cannot_run_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> Method:
        if name == "ants":
            raise ImportError("antspyx is\nnot installed")
        return load_method(name)

    monkeypatch.setattr(contenders, "load_method", load)
    found, notes = named_contenders(["ants", "elastix", "joint"])
    assert [(c.name, c.label, bool(c.weights)) for c in found] == [
        ("elastix",) * 2 + (False,),
        ("joint",) * 2 + (True,),
    ]
    assert notes == ["ants is left out: antspyx is not installed"]


def test_other_weights_are_told_apart() -> None:
    method = load_method("joint")
    network = network_of(method)
    assert network is not None and network_of(load_method("elastix")) is None
    before = named_contenders(["joint"])[0][0].weights
    assert named_contenders(["joint"])[0][0].weights == before
    weights = next(network.parameters())
    kept = weights.detach().clone()
    try:
        with torch.no_grad():
            weights.view(-1)[0] += 1
        assert named_contenders(["joint"])[0][0].weights != before
    finally:
        with torch.no_grad():
            weights.copy_(kept)


def test_names_are_checked() -> None:
    check_methods(["auto", "mine"], ["mine"])
    with pytest.raises(ValueError, match="expected one or more different names"):
        check_methods(["auto", "auto"], [])
    with pytest.raises(ValueError, match="expected one or more different names"):
        check_methods([], ["mine"])
    with pytest.raises(ValueError, match="method is 'mien', expected one of .*mine.*auto"):
        check_methods(["mien"], ["mine"])
