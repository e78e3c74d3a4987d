"""ANTs is asked for what it knows, missed with a hint, and leaves nothing behind."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from monai_cellreg.baselines import Ants
from monai_cellreg.geometry import AffineTransform, CompositeTransform, Pair


@pytest.fixture(scope="module")
def pair() -> Pair:
    """A spotted disc, and the same two rows down and three columns to the left."""
    rows, columns = np.indices((60, 74))
    disc = (rows - 29) ** 2 + (columns - 38) ** 2 < 20**2
    fixed = gaussian_filter(disc * (1 + np.random.default_rng(0).uniform(0, 2, disc.shape)), 2)
    return Pair.of(*(torch.tensor(image)[None].float() for image in (fixed, np.roll(fixed, (2, -3), axis=(0, 1)))))


KINDS = {"Translation": 1, "Rigid": 1, "Affine": 1, "SyN": 2, "Elastic": 2, "antsRegistrationSyNQuick[s]": 2}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_transform(pair: Pair, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ants")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = Ants(kind, seed=3).register(pair)
    parts = found.transforms if isinstance(found, CompositeTransform) else (found,)
    assert len(parts) == KINDS[kind] and isinstance(parts[-1], AffineTransform)
    middle = np.array([[29.0, 38.0], [20.0, 45.0]])
    np.testing.assert_allclose(found.points(middle), middle + [2, -3], rtol=0, atol=0.5)
    assert list(tmp_path.iterdir()) == []


def test_failure_is_told() -> None:
    pytest.importorskip("ants")
    rng = np.random.default_rng(0)
    large, tiny = (torch.tensor(rng.uniform(size=size)).float() for size in ((1, 60, 60), (1, 4, 4)))
    with pytest.raises(RuntimeError, match="^ANTs failed: Registration failed .* Expected images that overlap"):
        Ants().register(Pair.of(large, tiny))


def test_unknown_kind_is_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match="^type_of_transform is 'Syn', expected one of .* did you mean 'SyN'"):
        Ants("Syn")


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ants", None)
    with pytest.raises(ImportError, match=r"^ANTs is not installed; .*pip install 'monai-cellreg\[baselines\]'"):
        Ants()
