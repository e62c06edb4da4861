"""C09: threads that serialize messages with shared containers do not disturb each other."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import flare_fobs
from flare_core import Filter


class NamedDict(dict):
    """Needs an argument to be made."""

    def __init__(self, name, **values):
        super().__init__(**values)
        self.name = name


def test_800_messages_from_8_threads_decode_to_equal_values():
    arrays = [np.random.default_rng(index).normal(size=5 << 17) for index in range(3)]  # 5 MB each
    inner = list(arrays)
    messages = [copy.copy({"shared": inner, "to": number}) for number in range(8)]

    def serialize(number):
        for _ in range(100):
            frames = flare_fobs.dump_frames(messages[number])
            decoded = flare_fobs.load_frames(frames)
            assert decoded["to"] == number
            assert all(
                np.shares_memory(before, after) and np.array_equal(before[:8], after[:8])
                for before, after in zip(arrays, decoded["shared"], strict=True)
            )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(serialize, range(8)))
    assert all(left is right for left, right in zip(inner, arrays, strict=True))


def test_a_custom_container_is_refused_by_name_rather_than_changed():
    with pytest.raises(flare_fobs.FobsError, match="NamedDict"):
        flare_fobs.dumps({"inner": NamedDict("n", a=1)})


class ForSiteThree(Filter):
    """Changes one value, for one recipient."""

    def process(self, model, context):
        if context.site != "site-3":
            return model
        model = copy.copy(model)
        model.params = {**model.params, "numpy_key": model.params["numpy_key"] + 100}
        return model


def test_only_the_intended_recipient_sees_a_changed_value(project):
    script = """
        import flare_core.client as flare

        flare.init()
        while flare.is_running():
            model = flare.receive()
            flare.send(flare.FLModel(metrics={"seen": model.params["numpy_key"][0]}, params={}))
    """
    recipe = project.recipe(script, min_clients=8)
    recipe.add_server_output_filter(ForSiteThree())
    run = recipe.execute(project.env(8))
    seen = {row["site"]: row["value"] for row in run.metrics() if row["key"] == "seen" and row["site"]}
    assert seen == {f"site-{number}": 100.0 if number == 3 else 0.0 for number in range(1, 9)}
