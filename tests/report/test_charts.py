import re
from xml.etree import ElementTree

import numpy as np
import pytest

from monai_cellreg.report import charts
from monai_cellreg.report.charts import box_plot, line_chart


def ticks(drawing):
    """Positions and values of the numbers along the axis that is not the frames."""
    return [(float(t.get("x")), float(t.get("y")), float(t.text)) for t in drawing.findall("text[@class='tick']")]


def test_curves_lie_where_their_values_say():
    values = [0.2, 0.9, float("nan"), 0.4, 0.6]
    drawing = ElementTree.fromstring(line_chart({"after": values}, title="a & b"))
    marks = [t for t in ticks(drawing) if t[0] < charts.LEFT]
    slope, start = np.polyfit([v for *_, v in marks], [y - 4 for _, y, _ in marks], 1)
    left, step = float(drawing.get("data-left")), float(drawing.get("data-step"))
    drawn = {}
    for line in drawing.findall("polyline"):
        for x, y in (map(float, point.split(",")) for point in line.get("points").split()):
            drawn[round((x - left) / step)] = (y - start) / slope
    assert drawn == pytest.approx({0: 0.2, 1: 0.9, 3: 0.4, 4: 0.6}, abs=2e-3)
    assert len(drawing.findall("polyline")) == 2 and drawing.get("aria-label") == "a & b"


def test_a_lone_value_is_a_dot():
    drawing = ElementTree.fromstring(line_chart({"a": [float("nan"), 1.0, float("nan")]}, title="t"))
    assert len(drawing.findall("circle")) == 1


@pytest.mark.parametrize("values", [[0.0, 0.0], [float("nan")], [5.0], [-1e-9, 1e-9], [1e6, 3e6]])
def test_any_values_have_ticks_around_them(values):
    drawing = ElementTree.fromstring(line_chart({"a": values}, title="t"))
    marks = [v for x, _, v in ticks(drawing) if x < charts.LEFT]
    assert 2 <= len(marks) <= 6 and marks == sorted(set(marks))


def test_boxes_are_the_quartiles():
    rng = np.random.default_rng(0)
    values = [*rng.normal(3, 1, 41), 30.0]
    drawing = ElementTree.fromstring(box_plot({"auto": values, "<none>": [float("nan")]}, title="t"))
    marks = [(x, v) for x, _, v in ticks(drawing)]
    slope, start = np.polyfit([x for x, _ in marks], [v for _, v in marks], 1)
    (box,) = drawing.findall("rect")
    (median,) = drawing.findall("line[@class='median']")
    (whisker,) = drawing.findall("line[@class='whisker']")
    x, width = float(box.get("x")), float(box.get("width"))
    found = [slope * p + start for p in (x, float(median.get("x1")), x + width)]
    first, third = np.percentile(values, (25, 75))
    assert found == pytest.approx(np.percentile(values, (25, 50, 75)), abs=0.05)
    inside = [v for v in values if first - 1.5 * (third - first) <= v <= third + 1.5 * (third - first)]
    ends = [slope * float(whisker.get(end)) + start for end in ("x1", "x2")]
    assert ends == pytest.approx([min(inside), max(inside)], abs=0.05) and 30.0 not in inside
    assert len(drawing.findall("circle")) == 42 and re.search("&lt;none&gt;", box_plot({"<none>": [1.0]}, title="t"))
