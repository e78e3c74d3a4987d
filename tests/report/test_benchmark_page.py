import numpy as np
import pytest
from scipy.stats import wilcoxon

from monai_cellreg.report import BenchmarkPage, write_benchmark_page
from monai_cellreg.report.benchmark_page import compared, lower_is_better, score_names, values_by_pair


def rows():
    rng = np.random.default_rng(0)
    made = []
    for pair in range(12):
        hard = rng.normal(0, 0.1)
        for method, gain in (("unregistered", 0.3), ("auto", 0.2), ("elastix", 0.1)):
            made.append(
                {"case": "nuclei", "pair": pair, "method": method, "dice": 0.5 + gain + hard + rng.normal(0, 0.13)}
            )
            made[-1]["tre"] = 10 - 10 * made[-1]["dice"]
    return made


@pytest.mark.parametrize("name", ["dice", "tre"])
def test_best_is_bold_and_the_rest_tested(name):
    values = {method: values_by_pair(rows(), method, name) for method in ("unregistered", "auto", "elastix")}
    cells = compared(name, values, ["auto", "elastix"], "px")
    assert [cells[m].best for m in values] == [False, True, False]  # the identity does not compete
    auto, elastix = (np.array(list(values[m].values())) for m in ("auto", "elastix"))
    p = wilcoxon(elastix, auto).pvalue
    assert 0.001 < p < 0.05 and cells["elastix"].test == f"p = {p:.3f}"
    assert cells["auto"].test == cells["unregistered"].test == ""
    unit = " px" if name == "tre" else ""
    digits = ".3g" if name == "tre" else ".3f"
    assert cells["auto"].mean == f"{auto.mean():{digits}}{unit}"
    assert cells["auto"].spread == f"± {auto.std(ddof=1):{digits}}{unit}"


def test_tests_are_paired_by_name_of_the_pair():
    """In another order, and with a pair that only one method has, the p-value is that of the shared pairs."""
    base = {str(k): float(k % 5) for k in range(15)}
    better = {k: v + 0.1 * (1 + int(k)) for k, v in reversed(base.items()) if k != "14"}
    cells = compared("dice", {"a": base, "b": better}, ["a", "b"], "")
    p = wilcoxon([0.1 * (1 + k) for k in range(14)]).pvalue
    assert cells["a"].test == ("p < 0.001" if p < 0.001 else f"p = {p:.3f}")
    assert cells["b"].best


def test_nothing_is_best_where_all_are_equal():
    same = {"0": 0.0, "1": 0.0}
    cells = compared("folding_fraction", {"a": same, "b": dict(same)}, ["a", "b"], "")
    assert not cells["a"].best and not cells["b"].best and cells["b"].test == "no difference"


def test_missing_scores_are_left_out():
    made = [
        {"case": "c", "pair": 1, "method": "a", "dice": float("nan"), "failure": "stopped"},
        {"case": "c", "pair": 2, "method": "a"},
    ]
    assert score_names(made) == ["dice"] and values_by_pair(made, "a", "dice") == {}
    assert compared("dice", {"a": {}}, ["a"], "")["a"].mean == ""


def test_which_way_is_better():
    assert lower_is_better("map_error_px") and lower_is_better("hd95") and lower_is_better("seconds")
    assert not lower_is_better("dice") and not lower_is_better("ncc") and not lower_is_better("robustness")


def test_page_has_every_row(tmp_path):
    made = [*rows(), {"case": "mnist", "pair": "<7>", "method": "ants", "dice": 0.5, "failure": "no & never"}]
    write_benchmark_page(tmp_path / "page.html", BenchmarkPage(made, title="Run", note=("One thread.",)))
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count("<tr><td data-value=") == len(made) and "&lt;7&gt;" in text and "no &amp; never" in text
    assert text.count("<svg") == 2  # one score of a single value is no picture
    assert "1 failed" in text and "One thread." in text


def test_pictures_are_shown_with_their_captions(tmp_path):
    page = BenchmarkPage(rows(), pictures={"Before & after": "data:image/png;base64,AAAA"})
    write_benchmark_page(tmp_path / "page.html", page)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert 'src="data:image/png;base64,AAAA" alt="Before &amp; after"' in text
    assert text.count("Before &amp; after") == 2


def test_rows_are_checked():
    with pytest.raises(ValueError, match="rows is empty"):
        BenchmarkPage([])
    with pytest.raises(ValueError, match=r"rows\[0\] has the keys \['case'\], expected also pair, method"):
        BenchmarkPage([{"case": "a"}])
