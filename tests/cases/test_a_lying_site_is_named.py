"""An unusable reply ends a run, and the error names its site: not another site, and not a process."""

from __future__ import annotations

import re

import numpy as np
import pytest

from flare_core import JobFailed
from flare_core.robust import CoordinateMedian, Krum

HEAD = """
    import gc

    import numpy as np

    import flare_core.client as flare
    from flare_core import FLModel
    from flare_tensor_downloader.wire import OfferedParams
    from flare_tensor_downloader.source import checked_entry
    from flare_transport import Cell

    flare.init()
    # A forked worker also holds the cell of its parent, the server's.
    (cell,) = [each for each in gc.get_objects() if type(each) is Cell and each.name != "server"]


    def offered(owner, *entries):
        return OfferedParams(owner, "nothing", [checked_entry(*each) for each in entries])


    def say(params, **meta):
        cell.send("server", "result", [1, "site-2", FLModel(params=params, meta=meta)])


    while flare.is_running():
        model = flare.receive()
        if flare.get_site_name() == "site-2":
"""
TAIL = """
        flare.send(flare.FLModel(params=model.params))
"""
LARGE = '["numpy_key", "float64", [20000], None, None, False]'
LIES = {
    "a tensor that is not there": f"say(offered(cell.name, {LARGE}))",
    "a tensor of another process": f"say(offered('worker-1', {LARGE}))",
    "a tensor of the server's": f"say(offered('server', {LARGE}))",
    "what it was never sent": 'say(offered(cell.name, ["other", "float64", [20000], None, None, True]))',
    "no model": "cell.send('server', 'result', [1, 'site-2', {'w': 1}])",
    "text": 'say({"numpy_key": np.array(["a"] * 3)})',
    "lists that are no array": 'say({"numpy_key": [[1.0], [2.0, 3.0]]})',
    "an unknown key": 'say({"other": np.ones(3)})',
    "another shape": 'say({"numpy_key": np.ones(3)})',
    "a weight that is none": 'say({"numpy_key": np.ones(20000)}, NUM_STEPS_CURRENT_ROUND="x")',
}


@pytest.mark.parametrize("aggregator", [None, CoordinateMedian(), Krum(0)], ids=["mean", "median", "krum"])
@pytest.mark.parametrize("lie", LIES)
def test_the_error_of_a_run_names_the_site_that_lied(project, lie, aggregator):
    """Two sites share a process, so naming the process would not identify the site."""
    script = HEAD + 12 * " " + LIES[lie] + TAIL
    recipe = project.recipe(script, min_clients=4, initial_model=np.zeros(20_000), aggregator=aggregator)
    if isinstance(aggregator, CoordinateMedian) and lie == "an unknown key":  # on which it does not decide
        recipe.execute(project.env(4, num_threads=2, share_processes=True)).get_result()
        return
    with pytest.raises(JobFailed) as failure:
        recipe.execute(project.env(4, num_threads=2, share_processes=True))
    named = re.findall(r"site-\d", str(failure.value).partition("\n")[0])
    assert named[0] == "site-2", failure.value
    assert "site-4" not in named  # which runs in the same process
