"""What is compared computes the same, and the command leaves its table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from monai_cellreg.benchmarks import geometry
from monai_cellreg.benchmarks.geometry import OURS, WITHOUT_NUMBA, cases, drawn, main, transposed_convolution
from monai_cellreg.geometry import BSplineField, ThinPlateSplineField, sampling
from monai_cellreg.geometry.interop import voxel_to_cube_ddf


@pytest.mark.parametrize(("size", "spacing"), [((17, 25), 4), ((10, 13, 7), 3)])
def test_transposed_convolution_is_the_b_spline(size: tuple[int, ...], spacing: int) -> None:
    field = BSplineField(size, spacing)  # the sizes take whole cells
    parameters = drawn(2, *field.parameter_shape)
    torch.testing.assert_close(transposed_convolution(size, spacing)(parameters), field(parameters), rtol=0, atol=1e-4)


def test_kornia_moves_the_control_points_alike() -> None:
    pytest.importorskip("kornia")
    size, control = (21, 25), (5, 5)  # control points lie on pixels
    parameters = 0.05 * drawn(2, 25, 2)
    theirs = geometry.kornia_thin_plate(size, control)(parameters).reshape(2, *size, 2)
    ours = voxel_to_cube_ddf(ThinPlateSplineField(size, control)(parameters)).movedim(1, -1)
    for field in (ours, theirs):
        torch.testing.assert_close(field[:, ::5, ::6], parameters.reshape(2, 5, 5, 2), rtol=0, atol=1e-4)
    assert (ours - theirs).abs().max() < 0.1


def test_candidates_give_the_same_gradients() -> None:
    for case in cases(quick=True):
        if "thin-plate" in case.part:
            continue
        found = {name: run() for name, run in case.candidates.items()}
        peer = next(iter(found.values()))
        for name, gradients in found.items():
            assert len(gradients) == len(peer)
            if "B-spline" in case.part:  # sizes without whole cells: other control points
                continue
            for ours, theirs in zip(gradients, peer, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3, msg=f"{case.part}, {name}")


def test_numba_is_used_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    compiled: list[bool] = []
    inner = sampling._kernels_for

    def listening(image: Tensor, field: Tensor) -> object:
        kernels = inner(image, field)
        compiled.append(kernels is not None)
        return kernels

    monkeypatch.setattr(sampling, "_kernels_for", listening)
    case = geometry.warp_case((32, 33, 34), 1)
    for name, used in ((OURS, True), (WITHOUT_NUMBA, False)):
        compiled.clear()
        case.candidates[name]()
        assert compiled == [used]
    assert sampling.WORTH_COMPILING == 1 << 15


def test_bytes_that_must_be_moved() -> None:
    # image 12 in, field 24 in, warped 12 out; its gradient 12, image 12, field 24 in, gradients 12 and 24 out
    assert geometry.warp_case((3, 4), 1).moved_bytes == 4 * (12 + 24 + 12 + 12 + 12 + 24 + 12 + 24)
    assert geometry.squaring_case((3, 4), 1, steps=2).moved_bytes == 4 * 2 * (24 + 24 + 24 + 24 + 24)
    assert geometry.bspline_case((8, 8), 2, 4).moved_bytes == 4 * 2 * 256


def test_command_writes_and_prints_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--out", str(tmp_path)])
    written = (tmp_path / "geometry.md").read_text()
    assert capsys.readouterr().out.endswith(written)
    rows = json.loads((tmp_path / "geometry.json").read_text())
    assert {row["part"].split()[0] for row in rows} >= {"warp", "scaling", "B-spline"}
    assert all(row["seconds"] > 0 and row["times_copy"] > 0 and row["peak_bytes"] > 0 for row in rows)
