"""The tutorials run as they are, and what is saved in them is what a reader should see."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

FOLDER = Path(__file__).resolve().parents[2] / "tutorials"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_BYTES = 600_000
MOST_LINES = 20  # of a code cell

# What a tutorial says in words about its own figures, run as a last cell.
CLAIMS = {
    "01_quick_start.ipynb": """
        assert np.nanmean(before) > 15 and np.nanmean(after) < 0.8 and np.nanquantile(after, 0.95) < 1.6, table
        assert judge(result).level == "good" and (folder / "report.html").stat().st_size > 1e5
        assert inside.sum() > 40 and np.median(nucleus_errors) < 0.8, nucleus_errors
        assert difference.max() < 0.5, difference.max()
        assert table["elastix"][0] < table["auto"][0] < 1 < 3 * table["auto"][0] < table["affine"][0], table
        assert judge(alone).level != "good" and np.nanmean(errors(alone.transform, far)) > 30
        assert np.nanmean(errors(guided.transform, far)) < 1 and judge(stranger).level != "good"
        assert moved[1] < 2 < 10 < moved[0], moved
    """,
    "02_nuclei_sequence.ipynb": """
        assert np.mean(left[1:]) < 0.85 and min(iou[1:]) > 0.9, (left, iou)
        off = {name: abs(np.log(value / diffusion["truth"])) for name, value in diffusion.items()}
        assert off["affine"] < off["joint"] < off["not registered"], diffusion
        assert diffusion["not registered"] > 2 * diffusion["truth"] and off["affine"] < 0.5, diffusion
        nominal = (PIXEL_UM * settings.spots.step_px) ** 2 / (2 * SECONDS)
        assert 0.6 < diffusion["truth"] / nominal < 1.6, diffusion
        bad = [row["frame"] for row in checked.metrics if row["flag"] in ("unlike", "constant")]
        assert bad == [4, 7] and verdict.level == "check"
    """,
    "03_digits_and_heart.ipynb": """
        assert curve[-1] > 0.9 > 0.65 > unregistered and curve[-1] > curve[0] + 0.03, curve
        quick, shipped, iterative = table.values()
        assert before[0] + 0.3 < quick[0] < shipped[0] < iterative[0], (before, table)
        assert max(quick[2], shipped[2]) < 1e-3 < iterative[2], table
        assert 5 * max(quick[3], shipped[3]) < iterative[3], table
        assert muscle[0] + 0.2 < muscle[1] < muscle[2] and cavity[0] + 0.2 < cavity[1] < cavity[2], (muscle, cavity)
        for once_at_es, fitted_at_es, true_at_es in areas_at_es:
            assert abs(fitted_at_es - true_at_es) < abs(once_at_es - true_at_es) < 0.15, areas_at_es
    """,
    "04_your_own_bundle.ipynb": """
        gained = [learned[f"registration_{name}"][6] - learned[f"unregistered_{name}"][6] for name in ("ncc", "dice")]
        assert gained[0] > 0.05 and gained[1] > 0.03, gained
        first, *_, last = sorted(learned["registration_ncc"].items())
        assert (first[0], last[0]) == (1, 6) and last[1] > first[1] + 0.01, learned
        assert table["network"][0] < table["refined"][0] and 20 * table["network"][2] < table["auto"][2], table
        assert len(own_curve) == 6 and own_curve[6] > learned["unregistered_ncc"][6] + 0.03, own_curve
        folded = (found.transform.jacobian_determinant(found.pair.fixed_grid) <= 0).sum()
        assert folded == 0 and type(mine.network).__name__ == "VelocityUNet"
        assert torch.equal(by_path.warped, by_name.warped) and torch.equal(unpacked.warped, by_name.warped)
        assert (pack / "configs" / "metadata.json").is_file() and (pack / "models" / "model.pt").is_file()
    """,
    "05_monai_label.ipynb": """
        assert choices["reference"] == ["patient1_0"] and left < 0.75 < 0.9 < carried, (left, carried)
        assert differing == 0 and np.unique(sitk.GetArrayFromImage(by_itk)).tolist() == [0, 1, 2, 3]
        within = [dice(first[name], truth[name]) for name in others if name.startswith("patient1")]
        assert min(within) > 0.93 and asked_for["id"] == min(others, key=lambda name: dice(first[name], truth[name]))
        assert {known[name]["reference"] for name in remaining if name.startswith("patient2")} == {asked_for["id"]}
        assert np.mean(after) > np.mean(before) + 0.04 and min(after) > 0.92, (before, after)
        assert server.wait(60) is not None
    """,
}

PLACES = re.compile(
    rf"{re.escape(str(FOLDER.parent))}\b|"  # wherever this checkout lies
    r"(?<![\w.~/])/(?:home|root|tmp|Users|usr|opt|var|private|mnt|data)/|\b[A-Z]:\\|file://"
)
# 192.0.2.1 is of the addresses that are kept for documentation
REACHING = [
    f"""try:
    socket.socket().{call}(('{host}', 80))
    said = "connected"
except OSError as error:
    said = str(error)
said"""
    for call, host in (("connect", "192.0.2.1"), ("connect_ex", "192.0.2.1"), ("connect", "example.org"))
]
WARNINGS = re.compile(r"\w*Warning\b|Traceback")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorials_execute", FOLDER / "execute.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["tutorials_execute"] = module
    spec.loader.exec_module(module)
    return module


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def made(*sources: str) -> NotebookNode:
    return new_notebook(cells=[new_code_cell(source) for source in sources])


def outputs(notebook: NotebookNode) -> Iterator[NotebookNode]:
    for cell in notebook.cells:
        yield from cell.get("outputs", [])


def texts(output: NotebookNode) -> str:
    """All that an output says in words."""
    parts = [value for kind, value in output.get("data", {}).items() if not kind.startswith("image/png")]
    return "\n".join([*map(str, parts), *map(str, output.get("traceback", [])), output.get("text", "")])


def complaints(notebook: NotebookNode) -> list[str]:
    """What a reader should not see in a notebook that has run."""
    found = []
    for output in outputs(notebook):
        said = texts(output)
        if output.output_type == "error":
            found.append(f"error: {output.ename}: {output.evalue}")
        if output.get("name") == "stderr":
            found.append(f"stderr: {said}")
        for kind, pattern in (("place", PLACES), ("warning", WARNINGS)):
            found += [f"{kind}: {match}" for match in pattern.findall(said)]
    return found


def shown(notebook: NotebookNode) -> list[list[str]]:
    """What every code cell shows, without its content."""
    return [
        [
            "stream" if output.output_type == "stream" else "picture" if "image/png" in output.data else "value"
            for output in cell.outputs
        ]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_there_are_notebooks_and_the_list_has_each() -> None:
    assert NOTEBOOKS
    listed = re.findall(r"\((\d\d_\w+\.ipynb)\)", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert listed == names(NOTEBOOKS)
    assert set(CLAIMS) <= set(listed)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=names(NOTEBOOKS))
def test_notebook_runs_and_shows_what_is_saved(path: Path, tool: ModuleType) -> None:
    if module := tool.missing(path):
        pytest.skip(f"{module} is not installed: make test-label")
    saved = read(path)
    tried = nbformat.from_dict(saved)
    tried.cells.append(new_code_cell(textwrap.dedent(CLAIMS.get(path.name, ""))))
    fresh = tool.execute(tried)
    assert complaints(fresh) == []
    assert shown(fresh)[:-1] == shown(saved)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=names(NOTEBOOKS))
def test_saved_notebook_is_clean_and_small(path: Path, tool: ModuleType) -> None:
    saved = read(path)
    nbformat.validate(saved)
    assert complaints(saved) == []
    assert tool.normalised(saved) == saved, "run make tutorials"
    assert path.stat().st_size < MOST_BYTES
    code = [cell for cell in saved.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "run make tutorials"
    assert any("picture" in kinds for kinds in shown(saved))
    assert max(len(cell.source.splitlines()) for cell in code) <= MOST_LINES


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        (new_output("stream", name="stderr", text="1 of 2 frames"), "stderr: 1 of"),
        (new_output("stream", name="stdout", text="UserWarning: old"), "warning: UserWarning"),
        (new_output("stream", name="stdout", text="saved to /home/me/film.tif"), "place: /home/"),
        (new_output("execute_result", {"text/plain": "PosixPath('/opt/a')"}), "place: /opt/"),
        (new_output("stream", name="stdout", text=f"{FOLDER.parent}/film.tif"), f"place: {FOLDER.parent}"),
        (new_output("display_data", {"text/html": "<img src=C:\\films\\a.png>"}), "place: C:"),
        (new_output("error", ename="ValueError", evalue="no", traceback=[]), "error: ValueError: no"),
        (new_output("stream", name="stdout", text="before/after: 1/2, https://monai.io/data/x, ~/tmp/a"), ""),
        (new_output("display_data", {"image/png": "/tmp/", "text/plain": "<Figure>"}), ""),
    ],
)
def test_complaints(output: NotebookNode, complaint: str) -> None:
    notebook = made("1")
    notebook.cells[0].outputs = [output]
    assert [text[: len(complaint)] for text in complaints(notebook)] == [complaint] * bool(complaint)


def test_a_run_keeps_what_cells_say(tool: ModuleType) -> None:
    fresh = tool.execute(made("import warnings; warnings.warn('old')", "print(1); 'film.ome.tif'"))
    assert [text.partition(":")[0] for text in complaints(fresh)] == ["stderr", "place", "warning"]
    assert shown(fresh) == [["stream"], ["stream", "value"]]


def test_a_cell_that_fails_is_named(tool: ModuleType) -> None:
    with pytest.raises(CellExecutionError, match="the third"):
        tool.execute(made("x = 1", "raise ValueError('the third')"))


def test_time_is_limited_over_all_cells(tool: ModuleType) -> None:
    with pytest.raises(CellTimeoutError, match="timed out"):
        tool.execute(made("import time; time.sleep(1.6)", "time.sleep(1.6)"), limit_s=2.5)


def test_network_is_out_of_reach_but_the_machine_itself_is_not(tool: ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        near = f"import socket; socket.create_connection({address}).getpeername()"
        fresh = tool.execute(made(near, *REACHING))
    local, *refused = [cell.outputs[0].data["text/plain"] for cell in fresh.cells]
    assert local == str(address)
    assert len(refused) == 3 and all("without network" in text for text in refused)


def test_files_and_settings_of_the_user_are_left_alone(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "mine"))
    notebook = made("open('film.txt', 'w').close()", "import os; sorted(os.listdir())")
    fresh = tool.execute(notebook)
    assert fresh.cells[1].outputs[0].data["text/plain"] == "['film.txt']"
    assert list(tmp_path.iterdir()) == [] and notebook.cells[1].outputs == []
    assert os.environ["IPYTHONDIR"] == str(tmp_path / "mine") and "JUPYTER_RUNTIME_DIR" not in os.environ


def test_normalised_drops_what_runs_differ_in(tool: ModuleType) -> None:
    notebook = made("1")
    notebook.metadata = nbformat.from_dict({"kernelspec": {"name": "mine"}, "widgets": {}})
    notebook.cells[0].metadata = nbformat.from_dict({"execution": {"start": "today"}})
    notebook.cells[0].outputs = [new_output("display_data", {"image/png": ""}, metadata={"a": 1})]
    clean = tool.normalised(notebook)
    assert clean.metadata == tool.METADATA
    assert clean.cells[0].metadata == clean.cells[0].outputs[0].metadata == {}
    assert clean.cells[0].source == "1" and clean.cells[0].id == notebook.cells[0].id
    assert notebook.cells[0].metadata["execution"]["start"] == "today"


def test_what_an_environment_lacks_is_left_out(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("here.ipynb", "elsewhere.ipynb"):
        nbformat.write(made("6 * 7"), tmp_path / name)
    monkeypatch.setattr(tool, "FOLDER", tmp_path)
    monkeypatch.setattr(tool, "NEEDS", {"here.ipynb": "json", "elsewhere.ipynb": "no_such_module"})
    assert tool.main([]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "elsewhere.ipynb: left out, no_such_module" in said[0] and said[1].startswith("here.ipynb: ")
    assert read(tmp_path / "here.ipynb").cells[0].outputs and not read(tmp_path / "elsewhere.ipynb").cells[0].outputs


def test_main_saves_in_place(tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "one.ipynb"
    nbformat.write(made("6 * 7"), path)
    assert tool.main([str(path)]) == 0
    assert read(path).cells[0].outputs[0].data["text/plain"] == "42"
    assert capsys.readouterr().out.startswith("one.ipynb: ")
    first = path.read_bytes()
    tool.main([str(path)])
    assert path.read_bytes() == first
