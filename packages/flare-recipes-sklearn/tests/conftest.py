"""A fixture that runs a recipe at simulated sites with different rows."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest

from flare_runtime import SimEnv


@pytest.fixture
def model_from_sites(tmp_path):
    """Return a function that runs a recipe with the given arrays at the sites, and returns the model.

    The script finds its site's arrays in ``{folder}/<site>.npz``.
    """

    def run(recipe, script, sites, **arguments):
        for number, arrays in enumerate(sites, 1):
            np.savez(tmp_path / f"site-{number}.npz", **arrays)
        path = tmp_path / "client.py"
        path.write_text(textwrap.dedent(script.format(folder=str(tmp_path))))
        made = recipe(min_clients=len(sites), train_script=path, **arguments)
        env = SimEnv(num_clients=len(sites), workspace_root=tmp_path / "runs")
        return made.execute(env).load_model()

    return run
