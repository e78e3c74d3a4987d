"""The planted mistakes of ``make mutants`` keep up with the code; the command itself takes minutes and is not run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def mutants() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants", ROOT / "tests" / "mutants.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutants"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_mutation_still_finds_its_place(mutants: ModuleType) -> None:
    assert len(mutants.MUTATIONS) >= 10
    for mutation in mutants.MUTATIONS:
        text = (ROOT / mutants.GEOMETRY / mutation.file).read_text(encoding="utf-8")
        changed = mutation.applied(text)
        assert changed != text
        compile(changed, mutation.file, "exec")


def test_a_mutation_without_its_place_is_refused(mutants: ModuleType) -> None:
    lost = mutants.Mutation("a sign", "grid.py", "no such text", "")
    with pytest.raises(
        ValueError, match="'a sign' looks for 'no such text', found 0 times in grid.py; expected it once"
    ):
        lost.applied("x = 1")
