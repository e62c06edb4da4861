"""Warnings of a run: each is listed once, with the sites that gave it, even of those that were removed."""

from __future__ import annotations

from flare_runtime.run.warnings import RunWarnings


def test_the_summary_names_a_site_that_was_removed_since_a_restart():
    warnings = RunWarnings([("odd", ["gone", "site-2"])])
    assert not warnings.add("odd", "site-1")
    assert warnings.lines(["site-1", "site-2"]) == ["site-1, site-2, gone: odd"]
