"""The program as a whole: help, examples, exit statuses, interruptions and a quick start."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import monai_cellreg
from monai_cellreg.apps.cli import build_parser, main

ROOT = Path(__file__).resolve().parents[3]
Capture = pytest.CaptureFixture[str]
Refused = Callable[[Sequence[Any]], str]


def parsers(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command, with its words."""
    yield words, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                yield from parsers(sub, (*words, name))


COMMANDS = dict(parsers(build_parser()))
EXAMPLES = [
    shlex.split(line)
    for parser in COMMANDS.values()
    for line in (parser.epilog or "").splitlines()
    if line.strip().startswith("monai-cellreg ")
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_has_examples_and_exit_statuses(words: tuple[str, ...], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*words, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    if words != ("bundle",):
        assert f"examples:\n  monai-cellreg {' '.join(words)}".rstrip() in text
        assert "  1   done, but the registration is judged to have failed\n" in text
    assert max(len(line) for line in text.splitlines()) <= 130


@pytest.mark.parametrize("words", EXAMPLES, ids=" ".join)
def test_examples_are_understood(words: list[str]) -> None:
    if "--help" in words:
        return
    options, rest = build_parser().parse_known_args(words[1:])
    assert not rest or options.takes_overrides


def test_there_are_examples_of_every_command() -> None:
    assert {words[1] for words in EXAMPLES} == {words[0] for words in COMMANDS if words}


def test_python_m_is_the_same_command_and_starts_without_heavy_libraries() -> None:
    code = (
        "import sys\n"
        "from monai_cellreg.apps.cli import main\n"
        "try:\n    main(['register', '--help'])\n"
        "finally:\n    print(sorted({'torch', 'numpy', 'monai', 'itk'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True}
    assert subprocess.run([sys.executable, "-c", code], **run).stdout.splitlines()[-1] == "[]"
    answer = subprocess.run([sys.executable, "-m", "monai_cellreg", "--help"], **run, check=True)
    assert answer.stdout.startswith("usage: monai-cellreg") and "examples:" in answer.stdout


def test_version(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"monai-cellreg {monai_cellreg.__version__}\n"


def test_unknown_commands_and_arguments_are_refused(usage_error: Refused) -> None:
    assert "invalid choice: 'registr'" in usage_error(["registr"])
    assert "the following arguments are required: COMMAND" in usage_error([])
    assert "the following arguments are required: MOVING" in usage_error(["register", "a.tif"])
    assert "unrecognized arguments: --outt result" in usage_error(["register", "a.tif", "b.tif", "--outt", "result"])
    assert "unrecognized arguments: --meth joint" in usage_error(["register", "a.tif", "b.tif", "--meth", "joint"])
    assert "unrecognized arguments: extra" in usage_error(["methods", "extra"])


def stopping(error: BaseException) -> Callable[..., None]:
    def run(*_: object, **__: object) -> None:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status", "last"),
    [
        (ValueError("fixed is\n  bad"), 2, "monai-cellreg: error: fixed is bad"),
        (KeyError("no such key"), 2, "monai-cellreg: error: no such key"),
        (OSError(28, "No space left"), 2, "monai-cellreg: error: [Errno 28] No space left"),
        (ModuleNotFoundError("pip install antspyx"), 2, "monai-cellreg: error: pip install antspyx"),
        (RuntimeError("out of memory"), 3, "RuntimeError: out of memory"),
        (KeyboardInterrupt(), 130, "monai-cellreg: interrupted: no file was left half-written"),
        (KeyboardInterrupt("go on"), 130, "monai-cellreg: interrupted: go on"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_end_has_its_status(
    error: BaseException, status: int, last: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """One line on stderr, but for a defect, which shows where it happened."""
    monkeypatch.setattr("monai_cellreg.methods.report_files", stopping(error))
    assert main(["report", "folder"]) == status
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == last
    assert (len(lines) == 1) == (status != 3)


def test_a_request_to_end_unwinds_and_the_old_answer_to_it_returns(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("monai_cellreg.methods.report_files", lambda folder: os.kill(os.getpid(), signal.SIGTERM))
    assert main(["report", "folder"]) == 130
    assert signal.getsignal(signal.SIGTERM) == before
    assert capsys.readouterr().err == "monai-cellreg: interrupted: no file was left half-written\n"
