"""The pages in a real browser, without a network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from monai_cellreg.report import (
    BenchmarkPage,
    PairPage,
    SequencePage,
    Verdict,
    write_benchmark_page,
    write_pair_page,
    write_sequence_page,
)

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or ""
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH: apt-get install chromium, or set CHROMIUM")

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    """Chromium with a fresh profile."""
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One page of each kind."""
    folder, rng = tmp_path_factory.mktemp("pages"), np.random.default_rng(0)
    paths = {name: folder / f"{name}.html" for name in ("colour", "volume", "movie", "benchmark")}
    flat, volume = rng.uniform(0, 255, (3, 60, 90)).astype(np.uint8), rng.uniform(0, 1, (1, 9, 16, 20))
    pages = {
        "colour": PairPage(flat, flat[:, ::-1], flat, np.zeros((2, 60, 90)), verdict=Verdict("good", ("Fine.",))),
        "volume": PairPage(volume, volume[:, ::-1], volume, np.zeros((3, 9, 16, 20)), orientation="RAS"),
    }
    for name, page in pages.items():
        write_pair_page(paths[name], page)
    frames = list(rng.uniform(0, 1, (6, 1, 20, 30)))
    rows = [{"ncc_before": 0.1 * k, "ncc_after": 0.9} for k in range(6)]
    write_sequence_page(paths["movie"], SequencePage(frames, frames[::-1], frames[0], rows=rows))
    scores = [
        {"case": "c", "pair": k, "method": m, "dice": rng.uniform()} for k in range(12) for m in ("auto", "elastix")
    ]
    write_benchmark_page(paths["benchmark"], BenchmarkPage(scores))
    return paths


class Opened:
    """A page that is looked at, and what it complained about or asked the network for."""

    def __init__(self, page: playwright.Page, path: Path) -> None:
        self.page, self.complaints, self.requests = page, [], []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(path.as_uri())

    def style(self, selector: str, name: str) -> str:
        script = "([s, n]) => getComputedStyle(document.querySelector(s))[n]"
        return self.page.evaluate(script, [selector, name])

    def choose(self, value: str) -> None:
        self.page.locator(f'input[value="{value}"] + span').first.click()

    def wait(self, condition: Callable[[], bool]) -> None:
        """Asks again and again; the page's own policy forbids the browser to evaluate a condition by itself."""
        for _ in range(200):
            if condition():
                return
            self.page.wait_for_timeout(25)
        pytest.fail("what was waited for did not happen in 5 s")

    @property
    def hidden_share(self) -> float:
        """Percentage of the width that the upper picture leaves free."""
        return float(self.style(".upper", "clipPath").split()[-1].rstrip("%)"))

    def close(self) -> None:
        assert self.complaints == []
        assert [url for url in self.requests if not url.startswith(("file:", "data:"))] == []
        self.page.close()


@pytest.fixture
def opened(request: pytest.FixtureRequest, browser: playwright.Browser, files: dict[str, Path]) -> Iterator[Opened]:
    """The page whose name is the parameter; it must neither complain nor ask the network for anything."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page = Opened(context.new_page(), files[request.param])
    yield page
    page.close()
    context.close()


@pytest.mark.parametrize("opened", ["colour", "volume", "movie", "benchmark"], indirect=True)
def test_every_picture_loads_and_nothing_is_too_wide(opened: Opened) -> None:
    sizes = opened.page.evaluate("[...document.images].map(i => i.complete * i.naturalWidth * i.naturalHeight)")
    assert all(size > 0 for size in sizes)
    assert opened.page.evaluate("document.images.length + document.querySelectorAll('svg').length") >= 1
    for width in (1200, 390):
        opened.page.set_viewport_size({"width": width, "height": 800})
        assert opened.page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("opened", ["colour", "volume", "movie"], indirect=True)
def test_divider_follows_the_mouse(opened: Opened) -> None:
    stack = opened.page.locator(".viewer .stack").first
    stack.scroll_into_view_if_needed()
    assert opened.hidden_share == 50
    box = stack.bounding_box()
    opened.page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    opened.page.mouse.down()
    opened.page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.6 * box["height"], steps=4)
    assert opened.hidden_share == pytest.approx(20, abs=0.5)
    opened.page.mouse.up()
    opened.page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.6 * box["height"])
    assert opened.hidden_share == pytest.approx(20, abs=0.5), "it went on after the button was up"


@pytest.mark.parametrize("opened", ["colour", "volume"], indirect=True)
def test_divider_follows_the_keys(opened: Opened) -> None:
    handle = opened.page.locator('.viewer [role="slider"]').first
    handle.focus()
    for key, share in (
        ("ArrowLeft", 48),
        ("Shift+ArrowRight", 58),
        ("End", 100),
        ("ArrowRight", 100),
        ("PageDown", 90),
        ("Home", 0),
    ):
        opened.page.keyboard.press(key)
        assert opened.hidden_share == share and handle.get_attribute("aria-valuenow") == str(share)


@pytest.mark.parametrize("opened", ["colour"], indirect=True)
def test_blink_shows_one_and_then_the_other(opened: Opened) -> None:
    opened.choose("fixed after")
    opened.choose("blink")
    assert opened.page.locator("input.rate").is_visible() and not opened.page.locator(".handle").is_visible()
    assert opened.page.locator(".upper").get_attribute("data-name") == "after"
    for shown in ("hidden", "visible", "hidden"):
        opened.wait(lambda shown=shown: opened.style(".upper", "visibility") == shown)
    opened.choose("divider")
    opened.page.wait_for_timeout(800)
    assert opened.style(".upper", "visibility") == "visible", "it went on blinking"


@pytest.mark.parametrize("opened", ["colour"], indirect=True)
def test_checkerboard_has_tiles_of_the_chosen_size(opened: Opened) -> None:
    opened.choose("checkerboard")
    assert opened.style(".upper", "maskSize") == "96px 96px" and opened.style(".upper", "clipPath") == "none"
    opened.page.locator("input.tile").fill("20")
    assert opened.style(".upper", "maskSize") == "40px 40px"


@pytest.mark.parametrize("opened", ["volume"], indirect=True)
def test_a_slider_moves_every_stack_of_its_axis(opened: Opened) -> None:
    script = """axis => [...document.querySelectorAll(`.stack[data-axis="${axis}"] img`)].map(i => {
        const s = i.style, n = Number(s.getPropertyValue('--columns'));
        return Number(s.getPropertyValue('--row')) * n + Number(s.getPropertyValue('--column'));
    })"""
    axial = opened.page.locator('input[data-axis="0"]')
    assert set(opened.page.evaluate(script, "0")) == {9}  # the middle of 20 slices
    axial.focus()
    opened.page.keyboard.press("ArrowRight")
    assert set(opened.page.evaluate(script, "0")) == {10} and set(opened.page.evaluate(script, "1")) == {7}
    assert len(opened.page.evaluate(script, "0")) == 8 and axial.get_attribute("aria-valuetext") == "10"
    # the picture itself has moved by whole slices
    moved = "const i = document.querySelector('.stack img').getBoundingClientRect(), "
    moved += "s = document.querySelector('.stack').getBoundingClientRect();"
    x, y = opened.page.evaluate(f"() => {{ {moved} return [(s.x - i.x) / s.width, (s.y - i.y) / s.height] }}")
    columns = int(opened.page.evaluate("document.querySelector('.stack img').style.getPropertyValue('--columns')"))
    assert round(y, 3) * columns + round(x, 3) == pytest.approx(10, abs=0.01)


@pytest.mark.parametrize("opened", ["movie"], indirect=True)
def test_a_movie_plays_and_its_charts_follow(opened: Opened) -> None:
    slider, cursor = opened.page.locator('input[data-axis="time"]'), "svg .cursor"
    start = opened.page.locator(cursor).first.get_attribute("x1")
    opened.page.locator("button.play").click()
    opened.wait(lambda: slider.input_value() == "4")
    opened.page.locator("button.play").click()
    stopped = slider.input_value()
    assert opened.page.locator(cursor).first.get_attribute("x1") != start
    opened.page.wait_for_timeout(400)
    assert slider.input_value() == stopped


@pytest.mark.parametrize("opened", ["benchmark"], indirect=True)
def test_rows_are_sorted_by_a_click(opened: Opened) -> None:
    opened.page.locator("summary").click()
    column = "[...document.querySelectorAll('table.sortable tbody tr')].map(r => r.children[{}].dataset.value)"
    opened.page.get_by_role("button", name="Dice").click()
    values = [float(v) for v in opened.page.evaluate(column.format(3))]
    assert values == sorted(values) and len(values) == 24
    opened.page.get_by_role("button", name="Dice").click()
    assert [float(v) for v in opened.page.evaluate(column.format(3))] == sorted(values, reverse=True)
    opened.page.get_by_role("button", name="Pair").click()
    assert [int(v) for v in opened.page.evaluate(column.format(1))] == sorted(list(range(12)) * 2)
    assert opened.page.locator('th[aria-sort="ascending"]').inner_text().startswith("Pair")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_reader(browser: playwright.Browser, files: dict[str, Path], scheme: str) -> None:
    page = browser.new_page(color_scheme=scheme)
    page.goto(files["colour"].as_uri())
    red = int(page.evaluate("getComputedStyle(document.body).backgroundColor").split("(")[1].split(",")[0])
    assert red > 200 if scheme == "light" else red < 50
    page.close()
