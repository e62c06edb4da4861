"""C18: memory does not grow from round to round, and nothing stays open: no offer, no file."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest

from flare_core import events
from flare_runtime.run import federation

SIZE = 40_000_000  # bytes of the model

SCRIPT = """
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        for array in model.params.values():
            array += 1
        flare.send(model)
"""


@pytest.fixture
def federations(monkeypatch):
    """Every federation created, with its offers."""
    made: list = []
    original = federation.SitesFederation.__init__

    def init(self, **arguments):
        original(self, **arguments)
        made.append((self, arguments["dispatch"].downloader))
        for listener in listeners:
            listener(self, arguments["dispatch"].downloader)

    listeners: list = []
    monkeypatch.setattr(federation.SitesFederation, "__init__", init)
    made_and_listeners = (made, listeners)
    return made_and_listeners


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A private folder for temporary files, with a short path (for sockets), created after pytest's own."""
    with tempfile.TemporaryDirectory(prefix="c18-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


def left_in(temporary: Path) -> list[str]:
    names = [path.name for path in temporary.iterdir()]
    return [name for name in names if not name.startswith("flare-recipe-")]  # these live as long as a recipe


def model():
    return {f"w{number}": np.zeros(SIZE // 16, np.float32) for number in range(4)}


@pytest.mark.parametrize("external", [False, True], ids=["in-process", "external"])
def test_every_round_uses_as_much_memory_as_the_second(project, federations, temporary, external):
    process, seen = psutil.Process(), []

    def watch(made, downloader):
        made.events.subscribe(
            events.RoundEnded, lambda event: seen.append((process.memory_info().rss, downloader.open_offers))
        )

    federations[1].append(watch)
    recipe = project.recipe(SCRIPT, num_rounds=6, initial_model=model(), launch_external_process=external)
    run = recipe.execute(project.env())
    assert float(run.load_model()["w0"][0]) == 6.0
    memory, offers = zip(*seen, strict=True)
    assert set(offers) == {0}
    assert max(memory[2:]) <= memory[1] + 0.3 * SIZE
    assert left_in(temporary) == []


def test_an_abort_in_the_middle_of_a_download_leaves_nothing_behind(project, federations, temporary):
    def watch(made, downloader):
        served, pulls = downloader.cell._handlers["tensor.pull"][0], []

        def pull(message):
            pulls.append(message)
            if len(pulls) == 5:  # in the middle of the first model
                os.kill(os.getpid(), signal.SIGINT)
            return served(message)

        downloader.cell.handle("tensor.pull", pull)

    federations[1].append(watch)
    recipe = project.recipe(SCRIPT, num_rounds=6, initial_model=model())
    with pytest.raises(KeyboardInterrupt):
        recipe.execute(project.env())
    ((_, downloader),) = federations[0]
    assert downloader.open_offers == 0
    assert left_in(temporary) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("flare-link")]
