"""The report in a headless Chromium without a network: quiet, complete, and usable by keyboard and by screen reader."""

from __future__ import annotations

import os
from importlib.metadata import distribution

import pytest
from browser import Browser, find_browser
from report_samples import DRIFTED, breast_cancer, many
from test_report_page import HOSTILE

from flare_stats.report import make_report

AXE = distribution("axe-core-python").locate_file("axe_core_python/axe.min.js")
VISIBLE = """(selector) => [...document.querySelectorAll(selector)].filter((it) => it.checkVisibility()).map((each) => {
  const box = each.getBoundingClientRect(); return [box.width, box.height, box.left, box.right]; })"""


@pytest.fixture(scope="module")
def browser():
    program = find_browser()
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs Chromium; apt-get install chromium")
    with Browser(program) as started:
        yield started


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(make_report(*breast_cancer()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def short_report(tmp_path_factory):
    """A feature of every kind, and a whole report otherwise: axe-core takes seconds for each."""
    statistics, *others = breast_cancer()
    path = tmp_path_factory.mktemp("short") / "report.html"
    kept = ("mean radius", "mean smoothness", "diagnosis")
    path.write_text(make_report({name: statistics[name] for name in kept}, *others), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def hostile_report(tmp_path_factory):
    """Some features at some sites, all with hostile names."""
    import numpy as np
    from report_samples import documents

    rng = np.random.default_rng(0)
    sites = {name: {"train": {each: rng.normal(size=30) for each in HOSTILE[::3]}} for name in HOSTILE}
    path = tmp_path_factory.mktemp("hostile") / "report.html"
    refused = [[name, "train", name, "mean", name] for name in HOSTILE]
    path.write_text(make_report(*documents(sites, refused=refused, name=HOSTILE[0])), encoding="utf-8")
    return path


def serious(browser: Browser) -> list[str]:
    """What axe-core finds serious or critical, as rule: element."""
    browser.evaluate(AXE.read_text(encoding="utf-8") + "; undefined")
    found = browser.evaluate("axe.run(document, {resultTypes: ['violations']}).then((all) => all.violations)")
    return [
        f"{each['id']}: {node['html'][:200]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


def test_the_page_asks_for_nothing_and_complains_of_nothing(browser, report):
    browser.open(report)
    assert browser.requests() == [report.as_uri()]
    assert browser.complaints() == []


def test_a_script_of_another_is_refused(browser, report, tmp_path):
    """The policy holds: what was put into the page by hand does not run, and this test would see it if it did."""
    changed = tmp_path / "changed.html"
    text = report.read_text(encoding="utf-8")
    changed.write_text(
        text.replace("<main", "<script>document.title = 'run'</script><img src='http://127.0.0.1:9/x'><main")
    )
    browser.open(changed)
    assert browser.evaluate("document.title") != "run"
    assert any("Content Security Policy" in each for each in browser.complaints())


def test_every_figure_is_visible(browser, report):
    browser.open(report)
    boxes = browser.evaluate(f"({VISIBLE})('svg.histogram')")
    assert len(boxes) == 12 * 6
    assert min(width for width, *_ in boxes) > 100
    assert min(height for _, height, *_ in boxes) > 30
    drawn = browser.evaluate(
        "[...document.querySelectorAll('svg.histogram .bars')].map((each) => each.getBBox().height)"
    )
    assert max(drawn) > 30
    assert browser.evaluate(f"({VISIBLE})('svg.correlations')")[0][0] > 300


def test_one_level_and_one_data_set_are_shown_at_a_time(browser, report):
    browser.open(report)
    assert DRIFTED in browser.evaluate("document.body.innerText")
    browser.evaluate("document.getElementById('l1').click()")
    text = browser.evaluate("document.getElementById('drift').parentElement.innerText")
    assert "East" in text
    assert DRIFTED not in text
    browser.evaluate("document.getElementById('d1').click()")
    assert "Region, test" in browser.evaluate("document.getElementById('drift').parentElement.innerText")
    assert "Region, train" not in browser.evaluate("document.body.innerText")


def test_a_level_is_chosen_by_the_keyboard(browser, report):
    browser.open(report)
    browser.evaluate("document.getElementById('l0').focus()")
    browser.press("ArrowRight")
    assert browser.evaluate("document.activeElement.id") == "l1"
    assert "East" in browser.evaluate("document.getElementById('drift').parentElement.innerText")


@pytest.mark.parametrize("width", [320, 768, 1280])
def test_the_page_does_not_scroll_sideways(browser, report, hostile_report, width):
    for path in (report, hostile_report):
        browser.open(path, width=width, height=700)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("width", "dark"), [(320, False), (1280, True)], ids=["phone, light", "desktop, dark"])
def test_axe_finds_nothing_serious(browser, short_report, width, dark):
    browser.open(short_report, width=width, dark=dark)
    assert serious(browser) == []


def test_axe_finds_nothing_serious_in_hostile_names(browser, hostile_report):
    browser.open(hostile_report)
    assert serious(browser) == []
    assert browser.requests() == [hostile_report.as_uri()]
    assert browser.complaints() == []


def test_axe_finds_what_is_wrong(browser, tmp_path):
    """A page with a button without a name and pale text: otherwise, finding nothing would mean nothing."""
    page = tmp_path / "wrong.html"
    page.write_text(
        "<html lang='en'><title>t</title><main><button></button><p style='color:#ccc'>pale</p></main></html>"
    )
    browser.open(page)
    found = {each.split(":")[0] for each in serious(browser)}
    assert {"button-name", "color-contrast"} <= found


def test_the_first_tab_skips_to_the_summary(browser, report):
    browser.open(report)
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.className") == "skip"
    assert browser.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    browser.press("Enter")
    assert browser.evaluate("document.activeElement.id") == "main"


def test_the_keyboard_reaches_everything_in_order_sees_where_it_is_and_leaves(browser, report):
    browser.open(report)
    order = []
    while True:
        browser.press("Tab")
        told = browser.evaluate(
            "(() => { const it = document.activeElement, style = getComputedStyle(it);"
            "if (it === document.body) return null;"
            "const outlined = style.outlineStyle !== 'none' && style.outlineWidth !== '0px';"
            "return [it.tagName, outlined, [...document.querySelectorAll('*')].indexOf(it)]; })()"
        )
        if told is None or len(order) > 300:
            break
        order.append(told)
    assert len(order) <= 300  # it went through the page and out of it
    assert [place for *_, place in order] == sorted(place for *_, place in order)
    assert all(outlined for _, outlined, _ in order)
    assert {"A", "INPUT", "BUTTON", "SUMMARY", "DIV"} <= {tag for tag, *_ in order}


def test_the_search_leaves_the_features_whose_name_holds_the_text(browser, report):
    browser.open(report)
    browser.evaluate(
        "(() => { const it = document.getElementById('search'); it.value = 'RADIUS';"
        "it.dispatchEvent(new Event('input')); })()"
    )
    assert len(browser.evaluate(f"({VISIBLE})('details.feature')")) == 2
    assert browser.evaluate("document.getElementById('found').textContent") == "2 of 13 features"


def test_a_link_to_a_closed_feature_opens_it(browser, report):
    browser.open(report)
    browser.evaluate("document.getElementById('close').click()")
    browser.evaluate("document.querySelector('.map a').click()")
    browser.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert browser.evaluate("document.querySelectorAll('details.feature[open]').length") == 1


def test_paper_has_no_controls_and_nothing_is_cut_off(browser, report, tmp_path):
    browser.open(report, width=680, paper=True)
    assert browser.evaluate(f"({VISIBLE})('nav, .skip, #selection, #tools, button')") == []
    assert browser.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert max(right for *_, right in browser.evaluate(f"({VISIBLE})('table, svg')")) <= 680
    browser.print(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


def test_paper_is_light_where_the_screen_is_dark(browser, report):
    browser.open(report, paper=True, dark=True)
    assert browser.evaluate("getComputedStyle(document.documentElement).color") == "rgb(27, 33, 38)"


def test_many_features_and_sites_are_shown(browser, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(make_report(*many(features=60, sites=60)), encoding="utf-8")
    browser.open(path)
    assert browser.complaints() == []
    assert len(browser.evaluate(f"({VISIBLE})('details.feature')")) == 60
