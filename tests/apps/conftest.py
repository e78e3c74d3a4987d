"""What the tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from monai_cellreg.apps.cli import main

Refused = Callable[[Sequence[Any]], str]
Flags = Callable[..., list[str]]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Gives a function that runs a command which must fail with exit status 2 and one line, and gives its message."""

    def run(arguments: Sequence[Any]) -> str:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        (line,) = capsys.readouterr().err.splitlines()
        assert status == 2
        assert line.startswith("monai-cellreg: error: ")
        return line.removeprefix("monai-cellreg: error: ")

    return run


@pytest.fixture
def usage_error(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Gives a function that gives the last line on stderr of a command that is not understood."""

    def run(arguments: Sequence[Any]) -> str:
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        assert caught.value.code == 2
        return capsys.readouterr().err.splitlines()[-1]

    return run


@pytest.fixture
def flags() -> Flags:
    """Gives a function from settings of a bundle to overrides as they are typed."""

    def typed(settings: dict[str, Any], **more: Any) -> list[str]:
        return [part for key, value in {**settings, **more}.items() for part in (f"--{key}", str(value))]

    return typed
