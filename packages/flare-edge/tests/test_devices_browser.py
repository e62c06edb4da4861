"""A device in a headless Chromium, with a gateway over TLS: it trains as the Python device does, and loses nothing."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from one_gateway import Root

from flare_edge.device.data import Table, clusters, read_csv
from flare_edge.device.programs import initial_params, program_from, training_from
from flare_edge.fedbuff import DeviceManagerConfig, FedBuffSettings, ModelManagerConfig
from flare_edge.gateway.gateway import Gateway
from flare_edge.gateway.registry import Registry
from flare_edge.gateway.settings import REGISTRY, GatewaySettings

AXE = distribution("axe-core-python").locate_file("axe_core_python/axe.min.js")
CONFIG = {
    "program": {"kind": "mlp", "layers": [64, 16, 10], "activation": "relu", "loss": "cross_entropy"},
    "lr": 0.1,
    "epochs": 2,
    "batch_size": 16,
    "seed": 7,
    "data": {"kind": "image", "width": 8, "height": 8, "labels": [str(digit) for digit in range(10)], "scale": 16},
}
IS_OVER = "document.querySelector('#status').textContent.startsWith('The run is over')"


@pytest.fixture
def browser(chromium):
    """A browser that has kept nothing."""
    yield chromium
    chromium.forget()


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    """A file of 150 rows of 64 whole numbers from 0 to 16 and a class."""
    rows = clusters(150, inputs=64, classes=10, seed=3, spread=1.0)
    table = np.column_stack([np.clip(np.round(8 + 4 * rows.inputs), 0, 16), rows.targets])
    path = tmp_path_factory.mktemp("data") / "digits.csv"
    np.savetxt(path, table, fmt="%d", delimiter=",")
    return path


@pytest.fixture
def gateway(tmp_path):
    """A function that starts a gateway; its devices' configuration may be changed."""
    started: list[Gateway] = []

    def start(**changes) -> Gateway:
        gateway = Gateway(
            "gw-1",
            tmp_path / str(len(started)),
            GatewaySettings(),
            SETTINGS.models.scale,
            CONFIG | changes,
            job_name="Handwritten digits",
            description="Devices learn to read digits.",
            update_timeout_s=0.05,
        )
        gateway.start()
        started.append(gateway)
        return gateway

    yield start
    for each in started:
        each.close()


def settings(versions: int, devices: int = 1) -> FedBuffSettings:
    return FedBuffSettings(
        models=ModelManagerConfig(num_updates_for_model=devices, max_model_version=versions, max_update_norm=100.0),
        devices=DeviceManagerConfig(device_selection_size=devices),
    )


SETTINGS = settings(4)


def joined(browser: Browser, gateway: Gateway, **how):
    tab = browser.tab(gateway.join_link, **how)
    tab.click("#agree")
    tab.until("!document.querySelector('#joined').hidden")
    return tab


def with_file(browser: Browser, gateway: Gateway, path: Path, **how):
    tab = joined(browser, gateway, **how)
    tab.choose("#file", path)
    tab.until("document.querySelector('#count').textContent.startsWith('150 examples')")
    return tab


def trained_in_python(versions: list, path: Path) -> list:
    """The versions that one Python device with the same data makes."""
    program, how = program_from(CONFIG), training_from(CONFIG)
    examples = read_csv(path, Table(scale=16))
    made = [versions[0]]
    while len(made) < len(versions):
        made.append(program.train(made[-1], examples, how, version=len(made) - 1))
    return made


def test_a_browser_trains_and_its_model_is_that_of_a_python_device(browser, gateway, digits):
    served = gateway()
    with Root(served, initial_params(CONFIG, 1), settings(6)) as root:
        tab = with_file(browser, served, digits)
        tab.click("#start")
        tab.until(IS_OVER)
        root.is_over.wait(10)
        accuracies = [root.metrics[version]["accuracy"] for version in sorted(root.metrics)]
        expected = trained_in_python(root.versions, digits)
        shown = tab.text("#done"), tab.text("#version")
        requests, complaints = tab.requests(), tab.complaints()
        tab.close()
    assert shown == ("6", "5")
    assert accuracies[0] < 0.3
    assert accuracies[-1] > 0.7
    for found, wanted in zip(root.versions, expected, strict=True):
        for name, value in wanted.items():
            np.testing.assert_allclose(found[name], value, atol=1e-5)
    origin = served.join_link.partition("/#")[0]
    assert {each for each in requests if not each.startswith(f"{origin}/")} == set()
    assert sum("/v1/results/" in each for each in requests) == 6  # the worker was watched, too
    assert complaints == []


def test_a_tab_that_is_closed_in_mid_task_loses_nothing(browser, gateway, digits):
    """The device is asked for the same task when it comes back, and its result counts once."""
    served = gateway(epochs=400)  # takes a second or more
    with Root(served, initial_params(CONFIG, 1), settings(1)) as root:
        tab = with_file(browser, served, digits)
        tab.click("#start")
        tab.until("document.querySelector('#status').textContent.startsWith('Training version 0')")
        tab.close()
        asked = served.open_tickets()
        again = browser.tab(served.join_link)  # it goes on by itself
        again.until(IS_OVER)
    batches = [report.batch for report in root.reports if report.batch is not None]
    assert [(order.version, order.kind) for order in asked] == [(0, "train")]
    assert [list(batch.done) for batch in batches] == [[asked[0].ticket]]
    assert [batch.failed for batch in batches] == [{}]
    assert [(each.count, each.weight) for batch in batches for each in batch.sums.values()] == [(1, 150)]
    assert served.counts["results"] == 1


def test_a_reload_goes_on_with_the_same_device_and_examples(browser, gateway, digits):
    served = gateway()
    with Root(served, initial_params(CONFIG, 1), settings(2)) as root:
        tab = with_file(browser, served, digits)
        tab.reload()
        tab.until("document.querySelector('#count').textContent.startsWith('150 examples')")
        assert not tab.evaluate("document.querySelector('#start').disabled")
        tab.click("#start")
        tab.until(IS_OVER)
        assert {device for report in root.reports for device in report.joined} == set(served.devices())
    assert served.counts["registrations"] == 1
    assert len(root.versions) == 3


def test_two_tabs_of_a_browser_are_one_device_and_the_second_one_says_so(browser, gateway, digits):
    served = gateway()
    tab = with_file(browser, served, digits)  # nobody has a task for it
    tab.click("#start")
    tab.until("document.querySelector('#status').textContent.startsWith('Waiting')")
    second = browser.tab(served.join_link)
    second.until("document.querySelector('#status').textContent.startsWith('Another tab')")
    assert served.counts["registrations"] == 1


def test_who_leaves_is_gone_at_both_ends(browser, gateway, digits):
    served = gateway()
    tab = with_file(browser, served, digits)
    tab.click("#start")
    tab.until("document.querySelector('#status').textContent.startsWith('Waiting')")
    assert len(served.next_report().joined) == 1
    tab.click("#leave")
    tab.until("document.querySelector('#alert').textContent.startsWith('You have left')")
    assert len(served.next_report().left) == 1
    assert tab.evaluate("localStorage.length") == 0
    tab.reload()
    tab.until("!document.querySelector('#consent').hidden")


def test_who_is_revoked_is_told_so_and_may_join_again(browser, gateway, digits):
    served = gateway()
    tab = with_file(browser, served, digits)
    (device,) = tab.evaluate("JSON.parse(localStorage.getItem('flare-edge')).device").split("/")[1:]
    registry = Registry(served.folder / REGISTRY)
    registry.revoke(device)
    registry.close()
    tab.reload()
    tab.until("document.querySelector('#alert').textContent.startsWith('The gateway does not know this device')")
    tab.click("#agree")
    tab.until("!document.querySelector('#joined').hidden")
    assert tab.text("#count") == "0 examples"
    assert served.counts["registrations"] == 2


def test_a_program_that_is_not_for_browsers_lets_nobody_join(browser, gateway):
    served = gateway(program={"kind": "executorch"})
    tab = browser.tab(served.join_link)
    tab.click("#agree")
    tab.until("document.querySelector('#alert').textContent.startsWith('A browser cannot take part in this run')")
    assert tab.evaluate("localStorage.length") == 0
    registry = Registry(served.folder / REGISTRY)
    assert [device.revoked is None for device in registry.devices()] == [False]
    registry.close()


def test_an_update_that_the_gateway_refuses_ends_the_training_with_its_reason(browser, gateway, digits):
    served = gateway(lr=1e6)
    with Root(served, initial_params(CONFIG, 1), settings(1)):
        tab = with_file(browser, served, digits)
        tab.click("#start")
        tab.until("document.querySelector('#status').textContent.startsWith('The training stopped: ')")
        told = tab.text("#status")
        assert "norm" in told or "NaN" in told
        assert not tab.evaluate("document.querySelector('#start').disabled")
    assert served.counts["failed"] == 1
    assert served.counts["results"] == 0


def test_a_gateway_that_is_gone_is_waited_for(browser, gateway, digits):
    served = gateway()
    tab = with_file(browser, served, digits)
    tab.click("#start")
    tab.until("document.querySelector('#status').textContent.startsWith('Waiting')")
    served.close()
    tab.until("/^Trying again in [0-9]+ s: the gateway/.test(document.querySelector('#status').textContent)")


def test_drawings_by_mouse_and_by_keyboard_become_examples(browser, gateway):
    tab = joined(browser, gateway(), width=360, height=740)
    left, top, size = tab.evaluate(
        "(() => { const it = document.querySelector('#pad'); it.scrollIntoView({block: 'center'});"
        "const box = it.getBoundingClientRect(); return [box.x, box.y, box.width]; })()"
    )
    seven = [(0.3, 0.2), (0.5, 0.2), (0.7, 0.2), (0.45, 0.8)]
    tab.drag([(left + x * size, top + y * size) for x, y in seven])
    tab.click("#labels button:nth-child(8)")
    tab.until("document.querySelector('#count').textContent === '1 example (7: 1)'")
    tab.evaluate("document.querySelector('#pad').focus()")
    for key in (" ", " ", *["ArrowDown"] * 5, " "):  # appear and lower, lift, move, and lower: two dots
        tab.press(key)
    for key in ["ArrowLeft"] * 6:
        tab.press(key)
    tab.click("#labels button:nth-child(2)")
    tab.until("document.querySelector('#count').textContent === '2 examples (1: 1, 7: 1)'")
    kept = tab.evaluate(
        "import('/static/store.js').then((store) => store.examples())"
        ".then((all) => all.map(({input, target}) => [target, [...input]]))"
    )
    assert [target for target, _ in kept] == [7, 1]
    image = np.array(kept[0][1]).reshape(8, 8)
    assert image.min() == 0
    assert image.max() == 1
    assert (image[0] > 0).sum() >= 4  # the stroke at the top
    assert image[7, :4].sum() > 0  # the foot
    assert image[4:, 6:].sum() == 0  # nothing at the lower right


def test_a_file_that_cannot_be_used_is_refused_with_its_line(browser, gateway, tmp_path):
    tab = joined(browser, gateway())
    path = tmp_path / "bad.csv"
    path.write_text("1,2,3\n")
    tab.choose("#file", path)
    tab.until("document.querySelector('#alert').textContent === 'The file has 2 inputs; the model takes 64.'")
    assert tab.text("#count") == "0 examples"
    assert tab.evaluate("document.querySelector('#start').disabled")


def test_who_has_no_invitation_is_told_so(browser, gateway):
    origin = gateway().join_link.partition("#")[0]
    tab = browser.tab(origin)
    tab.until("!document.querySelector('#uninvited').hidden")
    tab.close()
    tab = browser.tab(origin + "#made-up")
    tab.click("#agree")
    tab.until("document.querySelector('#alert').textContent !== ''")
    assert "invitation" in tab.text("#alert")


@pytest.mark.parametrize(("width", "dark"), [(320, False), (1280, True)], ids=["phone, light", "desktop, dark"])
def test_the_page_fits_and_axe_finds_nothing_serious(browser, gateway, digits, width, dark):
    served = gateway()
    with Root(served, initial_params(CONFIG, 1), settings(2)):
        tab = browser.tab(served.join_link, width=width, dark=dark)
        assert serious(tab) == []
        tab.click("#agree")
        tab.until("!document.querySelector('#joined').hidden")
        tab.choose("#file", digits)
        tab.until("document.querySelector('#count').textContent.startsWith('150 examples')")
        tab.click("#start")
        tab.until(IS_OVER)
        assert serious(tab) == []
        assert tab.evaluate("document.documentElement.scrollWidth") <= width


def serious(tab) -> list[str]:
    """What axe-core finds serious or critical, as rule: element."""
    tab.evaluate(AXE.read_text(encoding="utf-8") + "; undefined")
    found = tab.evaluate("axe.run(document, {resultTypes: ['violations']}).then((all) => all.violations)")
    return [
        f"{each['id']}: {node['html'][:200]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
