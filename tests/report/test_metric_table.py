import pytest

from monai_cellreg.report.metric_table import chart_values, format_value, metric_rows, metric_title, metric_unit


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("ncc", 0.91234, "0.912"),
        ("ncc", 0.00123, "0.0012"),
        ("ncc", -0.5, "-0.500"),
        ("folding_fraction", 0.000123, "0.0123 %"),
        ("seconds", 1.234, "1.23 s"),
        ("seconds", 1234.5, "1234 s"),
        ("max_displacement", 12.345, "12.3 µm"),
        ("max_displacement", 12345.6, "12346 µm"),
        ("iou", float("nan"), "not a number"),
    ],
)
def test_values_have_units_and_few_digits(name, value, text):
    assert format_value(name, value, "µm") == text


def test_before_and_after_share_a_line():
    metrics = {
        "seconds": 2.0,
        "iou_after": 0.5,
        "iou_before": 0.75,
        "ncc_after": 0.9,
        "ncc_before": 0.5,
        "own_score": 3,
    }
    rows = {row.title: (row.before, row.after, row.change) for row in metric_rows(metrics)}
    assert rows == {
        "Correlation (NCC)": ("0.500", "0.900", "+0.400"),
        "Overlap of the labels (IoU)": ("0.750", "0.500", "−0.250"),
        "Time": ("", "2 s", ""),
        "own score": ("", "3.000", ""),
    }
    assert list(rows)[0] == "Correlation (NCC)" and list(rows)[-1] == "own score"


def test_charts_draw_shares_in_per_cent():
    assert chart_values("coverage", [0.5]) == [50] and metric_unit("coverage") == "%"
    assert chart_values("ncc", [0.5]) == [0.5] and metric_unit("ncc", "px") == ""
    assert metric_unit("tre", "px") == "px" and metric_title("rtre_median").endswith("median")
