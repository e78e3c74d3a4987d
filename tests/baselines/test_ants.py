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
    noise = gaussian_filter(np.random.default_rng(0).uniform(size=(60, 74)), 3) * 1000
    fixed, moving = noise[8:48, 8:62], np.roll(noise, (2, -3), axis=(0, 1))[8:48, 8:62]
    return Pair.of(*(torch.tensor(image)[None].float() for image in (fixed, moving)))


@pytest.mark.parametrize(
    ("kind", "parts"),
    [("Translation", 1), ("Rigid", 1), ("Affine", 1), ("SyN", 2), ("Elastic", 2), ("antsRegistrationSyNQuick[s]", 2)],
)
def test_kinds_of_transform(pair: Pair, kind: str, parts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ants")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = Ants(kind, seed=3).register(pair)
    assert isinstance(found, AffineTransform) == (parts == 1)
    assert isinstance(found, AffineTransform | CompositeTransform)
    assert parts == (1 if isinstance(found, AffineTransform) else len(found.transforms))
    middle = np.array([[20.0, 27.0]])
    np.testing.assert_allclose(found.points(middle), middle + [2, -3], rtol=0, atol=0.5)
    assert list(tmp_path.iterdir()) == []


def test_failure_is_told(pair: Pair) -> None:
    pytest.importorskip("ants")
    tiny = Pair.of(pair.fixed, pair.moving[:, :4, :4])
    with pytest.raises(RuntimeError, match="^ANTs failed: .* Expected images that overlap"):
        Ants("Affine").register(tiny)


def test_unknown_kind_is_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match="^type_of_transform is 'Syn', expected one of .* did you mean 'SyN'"):
        Ants("Syn")


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ants", None)
    with pytest.raises(ImportError, match=r"^ANTs is not installed; .*pip install 'monai-cellreg\[baselines\]'"):
        Ants()
