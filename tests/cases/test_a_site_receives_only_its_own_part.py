"""A site receives its own part of a job and the shared part, and nothing meant for another site."""

from __future__ import annotations

import pytest

LOOKS = """
    import sys
    from pathlib import Path

    import flare_core.client as flare

    flare.init()
    job = Path(__file__).resolve().parents[2]
    texts = [path.read_text(errors="replace") for path in job.rglob("*") if path.is_file()]
    seen = sorted(name for name in ("alpha", "beta", "gamma", "delta") if any(f"{name}-part" in each for each in texts))
    own = sys.argv[1].partition("-")[0]
    while flare.is_running():
        model = flare.receive()
        model.metrics = {"seen": len(seen)}
        print("SEEN", own, *seen, "and has", flare.get_config().get("folder"), flush=True)
        flare.send(model)
"""


@pytest.mark.deployed
def test_a_script_cannot_read_the_settings_of_another_site(project):
    status, folder, printed = project.poc(
        LOOKS,
        clients=3,
        train_args="gamma-part",
        per_site_config={
            "site-1": {"train_args": "alpha-part", "config": {"folder": "alpha-part"}},
            "site-2": {"train_args": "beta-part", "config": {"folder": "beta-part"}},
        },
    )
    assert status == "finished", printed
    for site, seen in {
        "site-1": "SEEN alpha alpha and has alpha-part",
        "site-2": "SEEN beta beta and has beta-part",
        "site-3": "SEEN gamma gamma and has None",
    }.items():
        assert seen in (folder / "sites" / site / "log.txt").read_text()
