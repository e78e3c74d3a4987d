"""Cases by name and by list."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_cellreg.benchmarks.cases import BUILT_IN, Case, load_case


def numbered(count: int) -> Case:
    return Case("numbers", {str(k): pytest.fail for k in range(count)}, "")


@pytest.mark.parametrize(
    ("limit", "kept"),
    [(None, "0123456789"), (1, "0"), (2, "09"), (4, "0369"), (10, "0123456789"), (99, "0123456789")],
)
def test_a_limit_spreads_evenly(limit: int | None, kept: str) -> None:
    assert "".join(numbered(10).limited(limit).pairs) == kept


def test_unusable_limits_and_names_are_refused() -> None:
    with pytest.raises(ValueError, match="limit is 0, expected a number of pairs of at least 1"):
        numbered(3).limited(0)
    with pytest.raises(ValueError, match=r"case is 'known-warp', expected one of .*did you mean 'known-warps'\?"):
        load_case("known-warp")


@pytest.mark.parametrize("name", list(BUILT_IN))
def test_built_in_cases_say_how_large_they_are(name: str) -> None:
    whole, quick = load_case(name), load_case(name, quick=True)
    assert len(whole.pairs) == 20 and len(quick.pairs) <= 5
    assert (whole.name, quick.name) == (name, name)
    assert whole.fingerprint != quick.fingerprint


def test_a_list_is_found_by_its_suffix_and_cut_when_quick(film_files: Path) -> None:
    rows = ["fixed,moving", *["day0.tif,day1.tif"] * 9]
    (film_files / "mine.csv").write_text("\n".join(rows))
    whole, quick = load_case(film_files / "mine.csv"), load_case(str(film_files / "mine.csv"), quick=True)
    assert (whole.name, len(whole.pairs), len(quick.pairs)) == ("mine.csv", 9, 4)
    assert list(quick.pairs)[-1] == list(whole.pairs)[-1]
