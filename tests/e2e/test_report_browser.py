"""The report in a real browser: it draws, answers to the mouse, asks no network, and runs nothing a name contains."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deepreduce.report import write_report
from report_fixture import (
    chosen_frontier,
    cifar100_frontier,
    frontier,
    measured_frontier,
    write_class_errors,
    write_measured,
    write_search,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.browser

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
IMAGE = "<img src=x onerror=window.pwned=1>"
SCRIPT = "</script><script>window.pwned=1</script>"


@dataclass
class Visit:
    """An open report, and what the browser had to say about it."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def rows(self) -> Locator:
        return self.page.locator("#networks tbody tr:visible")

    def column(self, title: str) -> list[str]:
        """The texts of one column of the table of networks, top to bottom."""
        titles = [text.strip() for text in self.page.locator("#networks thead th").all_inner_texts()]
        return self.page.locator(
            f"#networks tbody tr:visible > :nth-child({titles.index(title) + 1})"
        ).all_inner_texts()

    def header(self, title: str) -> Locator:
        return self.page.locator("#networks thead th", has=self.page.get_by_role("button", name=title, exact=True))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; without it a developer's run skips and a CI run fails, so that no CI ever skips these by accident."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _unavailable("the playwright package is not installed")
    if not CHROMIUM.is_file():
        _unavailable(f"there is no {CHROMIUM}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


def _unavailable(reason: str) -> None:
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def _visit(browser: Browser, report: Path, **options: Any) -> Visit:
    visit = Visit(browser.new_page(**options))
    visit.page.on("console", lambda message: visit.complaints.append(message.text))
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    visit.page.on("request", lambda request: visit.requests.append(request.url))
    visit.page.goto(report.as_uri())
    visit.page.wait_for_selector("#chart-curves .legend")
    return visit


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(write_search(tmp_path_factory.mktemp("report")))[0]


@pytest.fixture(scope="module")
def measured_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory, content = tmp_path_factory.mktemp("measured"), chosen_frontier()
    write_measured(directory, content)
    write_class_errors(directory, content)
    return write_report(directory)[0]


@pytest.fixture
def measured(browser: Browser, measured_report: Path) -> Iterator[Visit]:
    visit = _visit(browser, measured_report, viewport={"width": 1280, "height": 900})
    yield visit
    visit.page.wait_for_timeout(100)
    assert visit.complaints == []
    assert [url for url in visit.requests if not url.startswith(("file://", "data:", "blob:"))] == []
    visit.page.close()


@pytest.fixture(scope="module")
def hostile_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    content = chosen_frontier()
    for target in content["targets"]:
        target["targets"] = [f"{text}{IMAGE}" for text in target["targets"]]
        for value in target["values"]:
            value["target"] += SCRIPT
        target |= {"protocol": IMAGE, "skipped": [{"name": SCRIPT, "error": ""}]}
    for network in content["networks"]:
        if "private" in network:
            network["private"] = {f"{key}{IMAGE}": value for key, value in network["private"].items()}
    content["settings"]["model"] = content["data"]["name"] = IMAGE
    content["data"]["classes"] = [IMAGE, SCRIPT]
    content["data"]["notices"] = [IMAGE, SCRIPT]
    content["command"] = SCRIPT
    content["failed"] = [{"name": SCRIPT, "role": "candidate", "job": "ab", "error": IMAGE}]
    for i, network in enumerate(content["networks"]):
        network["name"] = f"{(IMAGE, SCRIPT)[i % 2]} {i}"
    for row in content["criticality"]:
        row["stage"] = f"{row['stage']} {IMAGE}"
    content["profile"]["stages"] = {f"{key} {IMAGE}": value for key, value in content["profile"]["stages"].items()}
    for layer in content["profile"]["layers"]:
        layer |= {"name": f"{layer['name']} {SCRIPT}", "stage": f"{layer['stage']} {IMAGE}"}
    directory = write_measured(tmp_path_factory.mktemp("hostile"), content)
    write_class_errors(directory, content)
    return write_report(directory)[0]


@pytest.fixture
def visit(browser: Browser, report: Path) -> Iterator[Visit]:
    visit = _visit(browser, report, viewport={"width": 1280, "height": 900})
    yield visit
    visit.page.close()


def _hover(visit: Visit, point: Locator) -> str:
    """The text that appears when the mouse rests on ``point``."""
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    assert box is not None
    visit.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    label = visit.page.locator("#chart-frontier .hoverlayer .hovertext").first
    label.wait_for()
    return label.text_content() or ""


def _frontier_points(visit: Visit) -> Locator:
    """The markers of the one trace of the frontier chart that has a line."""
    traces = visit.page.locator("#chart-frontier .scatterlayer .trace")
    return traces.filter(has=visit.page.locator("path.js-line")).locator("path.point")


def test_the_page_is_quiet_and_asks_nobody(visit: Visit) -> None:
    visit.page.wait_for_timeout(300)
    assert visit.complaints == []
    assert visit.requests != []
    assert [url for url in visit.requests if not url.startswith(("file://", "data:", "blob:"))] == []


def test_every_chart_is_drawn(visit: Visit) -> None:
    page = visit.page
    assert page.locator("#chart-frontier path.point").count() == 25, "24 networks, the teacher under its diamond too"
    assert _frontier_points(visit).count() == 12
    assert page.locator("#chart-criticality .bars .point").count() == 4
    assert page.locator("#chart-stages .bars .point").count() == 18
    assert page.locator("#chart-layers .bars .point").count() == 3 * 13
    assert page.locator("#chart-curves .scatterlayer path.js-line").count() == 12
    assert "S2+S3+S4" in page.locator("#chart-frontier .textpoint").all_text_contents()


def test_pointing_at_a_network_shows_its_numbers(visit: Visit) -> None:
    text = _hover(visit, _frontier_points(visit).first)
    for part in ("S3^RT, alpha=0.5, rho=0.5", "2,048 ReLUs", "84.12", "83.33", "1.2M parameters", "15.8M MACs"):
        assert part in text


def test_a_legend_name_shows_a_waiting_curve(visit: Visit) -> None:
    from playwright.sync_api import expect

    visit.page.locator("#chart-curves .legend .traces").last.locator(".legendtoggle").click()
    expect(visit.page.locator("#chart-curves .scatterlayer path.js-line")).to_have_count(13)


def test_a_header_sorts_by_number_and_toggles(visit: Visit) -> None:
    header = visit.header("ReLUs")
    header.get_by_role("button").click()
    relus = [int(text.replace(",", "")) for text in visit.column("ReLUs")]
    assert header.get_attribute("aria-sort") == "ascending"
    assert relus == sorted(relus) and relus[0] == 2048 and len(relus) == 24
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert [int(text.replace(",", "")) for text in visit.column("ReLUs")] == relus[::-1]
    visit.header("Network").get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "none"
    assert visit.column("Network")[0] == "resnet10"


def test_a_time_is_sorted_by_its_seconds(visit: Visit) -> None:
    visit.header("Time").get_by_role("button").focus()
    visit.page.keyboard.press("Enter")
    seconds = [float(text.split()[0]) * (60 if "min" in text else 1) for text in visit.column("Time")]
    assert seconds == sorted(seconds) and seconds[0] < 60 < seconds[-1]


def test_the_filter_keeps_the_rows_with_every_word(visit: Visit) -> None:
    visit.page.get_by_label("Filter").fill("THINNED s2")
    assert sorted(visit.column("Network")) == ["S2^RT+S3^RT", "S2^RT+S3^RT+S4^RT"]
    assert visit.page.locator("#shown").inner_text() == "2 of 24 networks"
    visit.page.get_by_label("Filter").fill("")
    assert visit.rows().count() == 24


def _select(visit: Visit, chart: str, part: int) -> Locator:
    return visit.page.locator(f'select[data-chart~="{chart}"][data-part="{part}"]')


def test_the_frontiers_axis_can_be_switched(measured: Visit) -> None:
    from playwright.sync_api import expect

    title = measured.page.locator("#chart-frontier .xtitle")
    expect(title).to_have_text("ReLUs per image (log scale)")
    expect(_select(measured, "frontier", 1)).to_be_disabled()
    assert _frontier_points(measured).count() == 12
    _select(measured, "frontier", 0).select_option("online")
    expect(title).to_have_text("Online seconds, ot@none (log scale)")
    expect(_frontier_points(measured)).to_have_count(11)  # one is dominated in seconds
    assert all(text.endswith("ms") for text in measured.page.locator("#chart-frontier .xtick").all_text_contents())
    least = measured_frontier()["networks"][-1]["private"]
    text = _hover(measured, _frontier_points(measured).first)
    assert f"online {1e3 * least['ot@none']['online_s']:.3g} ms" in text
    measured.page.mouse.move(0, 0)
    _select(measured, "frontier", 1).select_option("ot@lan")
    _select(measured, "frontier", 0).select_option("traffic")
    expect(title).to_have_text("Megabytes, both phases, ot@lan (log scale)")
    assert measured.page.locator("#chart-frontier .xtick").first.text_content().endswith("MB")
    _select(measured, "frontier", 0).select_option("relus")
    expect(title).to_have_text("ReLUs per image (log scale)")
    expect(_frontier_points(measured)).to_have_count(12)


def _shown(visit: Visit) -> list[str]:
    """The names in the frontier chart's legend."""
    return visit.page.locator("#chart-frontier .legendtext").all_text_contents()


@pytest.fixture
def published(browser: Browser, tmp_path: Path) -> Iterator[Visit]:
    content = cifar100_frontier()
    for network, measured in zip(content["networks"], measured_frontier()["networks"], strict=True):
        network |= {"private": measured["private"]} if "private" in measured else {}
    visit = _visit(browser, write_report(write_measured(tmp_path, content))[0], viewport={"width": 1280, "height": 900})
    yield visit
    visit.page.wait_for_timeout(100)
    assert visit.complaints == []
    assert [url for url in visit.requests if not url.startswith(("file://", "data:", "blob:"))] == []
    visit.page.close()


def test_published_methods_are_switched_on_and_off(published: Visit) -> None:
    from playwright.sync_api import expect

    points = published.page.locator("#chart-frontier path.point")
    expect(points).to_have_count(25 + 45)
    published.page.get_by_label("SNL").uncheck()
    expect(points).to_have_count(25 + 35)
    assert not any("SNL" in name for name in _shown(published))
    _select(published, "frontier", 0).select_option("online")
    expect(published.page.get_by_label("SENet")).to_be_disabled()
    assert not any("published" in name for name in _shown(published)), "seconds are not published"
    _select(published, "frontier", 0).select_option("relus")
    expect(points).to_have_count(25 + 35)
    assert "SENet (ICLR 2023, published)" in _shown(published)
    published.page.get_by_label("SNL").check()
    expect(points).to_have_count(25 + 45)
    assert any("SNL" in name for name in _shown(published))


def test_pointing_at_a_published_network_tells_its_source(published: Visit) -> None:
    traces = published.page.locator("#chart-frontier .scatterlayer .trace")
    text = _hover(published, traces.last.locator("path.point").last)
    for part in ("ReLUPruner as published, AAAI 2026", "491,520 ReLUs, test 79.80", "epoch picked on test images: yes"):
        assert part in text
    published.page.get_by_text("What others published on cifar100").click()
    assert published.page.locator("#published tbody tr:visible").count() == 45


@pytest.mark.parametrize("width", [420, 1280])
def test_beside_a_reduced_search_published_methods_wait(browser: Browser, tmp_path: Path, width: int) -> None:
    from playwright.sync_api import expect

    visit = _visit(
        browser,
        write_report(write_search(tmp_path, cifar100_frontier(reduced=True)))[0],
        viewport={"width": width, "height": 900},
    )
    points = visit.page.locator("#chart-frontier path.point")
    expect(points).to_have_count(25)
    expect(visit.page.get_by_text("do not compare accuracies")).to_be_visible()
    for box in visit.page.locator("input[data-published]").all():
        box.check()
    expect(points).to_have_count(25 + 45)
    assert "DeepReDuce (ICML 2021, published at full size)" in _shown(visit)
    visit.page.locator("summary", has_text="What others published").click()
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    assert visit.complaints == []
    visit.page.close()


def test_nothing_is_offered_where_nothing_is_published(visit: Visit) -> None:
    assert visit.page.locator("input[data-published]").count() == 0
    assert visit.page.locator("#published").count() == 0


def test_the_waterfall_follows_its_selects(measured: Visit) -> None:
    from playwright.sync_api import expect

    places = [measured.page.locator(f"#chart-waterfall-{phase}") for phase in ("online", "offline")]
    ticks = [place.locator(".xtick").last for place in places]
    before = [tick.text_content() for tick in ticks]
    assert places[0].locator(".bars .point").count() == 2 * 12, "measured and predicted"
    least = measured_frontier()["networks"][-1]
    _select(measured, "waterfall-online", 0).select_option(least["job"])
    for tick, text in zip(ticks, before, strict=True):
        expect(tick).not_to_have_text(text or "")
    assert float(ticks[0].text_content() or "") <= least["private"]["ot@none"]["online_s"]
    _select(measured, "waterfall-online", 2).select_option("megabytes")
    for place, phase in zip(places, ("Online", "Offline"), strict=True):
        expect(place.locator(".xtitle")).to_have_text(f"{phase} megabytes")
    _select(measured, "waterfall-online", 1).select_option("ot@lan")
    expect(places[0]).to_be_visible()


def test_a_run_that_is_not_there_is_said_so(browser: Browser, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    content = measured_frontier()
    del content["networks"][-1]["private"]["ot@lan"]
    page = _visit(browser, write_report(write_measured(tmp_path, content))[0]).page
    page.select_option('select[data-chart~="waterfall-online"][data-part="0"]', content["networks"][-1]["job"])
    expect(page.get_by_text("was not measured so")).to_be_hidden()
    page.select_option('select[data-chart~="waterfall-online"][data-part="1"]', "ot@lan")
    expect(page.get_by_text("was not measured so")).to_be_visible()
    expect(page.locator("#chart-waterfall-online")).to_be_hidden()
    page.select_option('select[data-chart~="waterfall-online"][data-part="1"]', "ot@none")
    expect(page.locator("#chart-waterfall-online")).to_be_visible()
    page.close()


def test_the_command_can_be_copied(visit: Visit) -> None:
    visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.page.get_by_role("button", name="Copy").click()
    visit.page.get_by_role("button", name="Copied").wait_for()
    assert visit.page.evaluate("navigator.clipboard.readText()") == frontier()["command"]


@pytest.mark.parametrize("width", [420, 1280])
@pytest.mark.parametrize("fixture", ["report", "measured_report", "hostile_report"])
def test_the_page_never_scrolls_sideways(
    browser: Browser, request: pytest.FixtureRequest, fixture: str, width: int
) -> None:
    page = _visit(browser, request.getfixturevalue(fixture), viewport={"width": width, "height": 900}).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_dark_mode_reaches_the_charts(browser: Browser, report: Path) -> None:
    from playwright.sync_api import expect

    page = _visit(browser, report, color_scheme="dark").page
    tick = page.locator("#chart-frontier .xtick text").first
    expect(tick).to_have_css("fill", "rgb(229, 233, 238)")
    page.emulate_media(color_scheme="light")
    expect(tick).to_have_css("fill", "rgb(28, 33, 39)")
    page.close()


@pytest.mark.parametrize("bypass_csp", [False, True], ids=["with policy", "escaping alone"])
def test_names_are_text_whatever_they_contain(browser: Browser, hostile_report: Path, bypass_csp: bool) -> None:
    """Also with the page's security policy switched off, so that one lock does not hide that the other is open."""
    visit = _visit(browser, hostile_report, bypass_csp=bypass_csp)
    hovered = _hover(visit, _frontier_points(visit).first)
    visit.page.wait_for_timeout(300)
    assert visit.page.evaluate("typeof window.pwned") == "undefined"
    assert visit.complaints == []
    assert visit.page.locator("img").count() == 0
    assert IMAGE in hovered or SCRIPT in hovered
    shown = visit.page.inner_text("body")
    for place in ("h1", ".notices", "#networks"):
        assert IMAGE in visit.page.inner_text(place)
    assert SCRIPT in visit.page.inner_text("#command")
    assert f"({IMAGE}, {SCRIPT})" in shown, "the class names"
    for chart in ("criticality", "stages", "layers", "curves"):
        assert IMAGE in (visit.page.text_content(f"#chart-{chart}") or ""), chart
    visit.page.close()
