"""The demonstration in small: it trains, registers films it has not seen, and leaves what it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_cellreg.benchmarks import demo
from monai_cellreg.data.synthetic_sequence import simulate_sequence
from monai_cellreg.geometry import AffineTransform, Pair, SpatialTransform


class Still:
    """A method that moves nothing."""

    def register(self, pair: Pair) -> SpatialTransform:
        return AffineTransform(np.eye(2, 3))


def test_demo_leaves_weights_picture_and_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "FRAMES", 3)
    out = tmp_path / "demo"
    demo.main(["--out", str(out), "--image_size=32", "--simulated=8", "--max_epochs=1", "--films=2"])
    written = {path.name for path in out.iterdir()}
    assert written == {"average.pt", "model.pt", "last.pt", "tensorboard", "before_after.png", "table.json"}
    rows = json.loads((out / "table.json").read_text())
    assert [row["film"] for row in rows] == ["0 (2 frames)", "1 (2 frames)"]
    assert all(0.7 < row["before"] < 1 and 0 < row["after"] <= 1 for row in rows)
    printed = capsys.readouterr().out
    for row in rows:
        assert f"{row['before']:.3f}  {row['after']:.3f}" in printed
    assert f"look at {out / 'before_after.png'}; the weights are {out / 'model.pt'}" in printed
    width, height = Image.open(out / "before_after.png").size
    assert width == 1200 and 480 < height < 700  # two rows


def test_every_later_frame_is_registered_to_the_first_one() -> None:
    results = demo.register_film(1, Still())
    film = simulate_sequence(demo.FRAMES, seed=demo.FIRST_SEED + 1)
    assert len(results) == demo.FRAMES - 1
    for t, result in enumerate(results, start=1):
        np.testing.assert_allclose(result.warped, film.images[t, 0], rtol=0, atol=1e-5)
        fixed, moving = film.labels[0, 0] > 0, film.labels[t, 0] > 0
        overlap = (fixed & moving).sum() / (fixed | moving).sum()
        assert result.metrics["iou_before"] == pytest.approx(overlap, abs=1e-6)
        assert result.metrics["iou_after"] == pytest.approx(overlap, abs=1e-6)
