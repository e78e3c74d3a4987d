"""Learning curves as a picture."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from monai_cellreg.report import save_curves


def test_curves_are_drawn_in_order_and_listed_as_they_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {}
    plot = Axes.plot

    def listen(axis: Axes, x, y, label=None, **options):
        drawn[label] = (list(x), list(y), options["color"], options["linestyle"])
        return plot(axis, x, y, label=label, **options)

    monkeypatch.setattr(Axes, "plot", listen)
    curves = {f"c{k}": {2: 0.1 * k, 1: 0.5} for k in range(12)}
    save_curves(tmp_path / "a.png", curves | {"gap": {1: 0.3, 2: math.nan, 3: 2.0}, "none": {}}, across="x", up="y")
    assert list(drawn) == ["gap", *(f"c{k}" for k in reversed(range(12)))]
    assert drawn["gap"][:2] == ([1, 3], [0.3, 2.0]) and drawn["c4"][:2] == ([1, 2], [0.5, pytest.approx(0.4)])
    assert len({(tuple(colour), style) for *_, colour, style in drawn.values()}) == 13
    assert np.asarray(Image.open(tmp_path / "a.png")).shape[:2] == (540, 960)


def test_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"curves of \['a', 'b'\] have no finite value"):
        save_curves(tmp_path / "a.png", {"a": {}, "b": {1: math.nan}}, across="x", up="y")
    assert not (tmp_path / "a.png").exists()
