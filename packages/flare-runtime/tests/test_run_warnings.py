"""Warnings of a run: each once, with the sites that gave it, also of those that are not in the run any more."""

from __future__ import annotations

from flare_runtime.run.warnings import RunWarnings


def test_the_summary_names_a_site_that_was_put_out_since_a_restart():
    warnings = RunWarnings([("odd", ["gone", "site-2"])])
    assert not warnings.add("odd", "site-1")
    assert warnings.lines(["site-1", "site-2"]) == ["site-1, site-2, gone: odd"]
