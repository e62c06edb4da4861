"""C08: a filter runs once per model and site, however often its result is fetched, and never in place."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

COUNTING = """
    from pathlib import Path
    import numpy as np
    from flare_core import TensorFilter

    class ToHalf(TensorFilter):
        def __init__(self, folder):
            self.folder = folder

        def process(self, model, context):
            with (Path(self.folder) / f"{context.point}-{context.site}").open("a") as file:
                file.write("x")
            return super().process(model, context)

        def process_tensor(self, key, array, context):
            assert array.dtype == np.float32, f"filtered already: {array.dtype}"
            with (Path(self.folder) / f"{context.point}-{context.site}-tensor").open("a") as file:
                file.write("x")
            return array.astype(np.float16)
"""

SCRIPT = """
    import numpy as np
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        assert model.params["w"].dtype == np.float16, model.params["w"].dtype
        flare.send(flare.FLModel(params={"w": model.params["w"].astype(np.float32) + 1}))
"""


@pytest.mark.parametrize("size", [1000, 300_000, 50_000_000 // 4], ids=["inline", "1 MB", "50 MB"])
def test_each_site_gets_what_was_filtered_once(project, tmp_path, monkeypatch, size):
    project.write("counting_filter.py", COUNTING)
    monkeypatch.syspath_prepend(str(project.folder))
    importlib.invalidate_caches()
    counting = importlib.import_module("counting_filter")
    counts = tmp_path / "counts"
    counts.mkdir()
    recipe = project.recipe(SCRIPT, num_rounds=2, initial_model={"w": np.zeros(size, np.float32)})
    recipe.add_server_output_filter(counting.ToHalf(folder=str(counts)))
    run = recipe.execute(project.env())
    assert run.load_model()["w"].dtype == np.float32  # the global model was not filtered in place
    assert float(run.load_model()["w"][0]) == 2.0
    found = {path.name: len(path.read_text()) for path in counts.iterdir()}
    expected = [f"server_output-site-{number}{kind}" for number in (1, 2) for kind in ("", "-tensor")]
    assert found == dict.fromkeys(expected, 2)  # once in each of the two rounds
