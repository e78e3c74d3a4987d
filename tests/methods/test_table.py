"""Names lead to methods."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_cellreg.data.synthetic_sequence import NucleusSequence
from monai_cellreg.geometry import Pair
from monai_cellreg.methods import LearnedMethod, bundle_method, load_method, method_names


def test_names_and_loading_once() -> None:
    assert method_names() == ["joint"]
    assert load_method("joint") is load_method("joint")


@pytest.mark.parametrize("name", ["jiont", "elastix"])
def test_unknown_method_is_told_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=f"method is '{name}', expected one of 'joint'"):
        load_method(name)


def test_shipped_method_is_the_bundle_s(film: NucleusSequence) -> None:
    pair = Pair.of(*torch.from_numpy(film.images))
    points = np.array([[10.0, 20.0], [40.0, 33.0]])
    shipped, built = load_method("joint"), bundle_method("joint")
    assert isinstance(built, LearnedMethod)
    np.testing.assert_array_equal(shipped.register(pair).points(points), built.register(pair).points(points))
