"""Cells and notes that tables of places share."""

from __future__ import annotations

from collections.abc import Sequence

from flare_stats.report.analysis import Analysis, View, mark_text
from flare_stats.report.data import GLOBAL
from flare_stats.report.drift import NONE
from flare_stats.report.html import Html, cell, count, join, name, plural, short, tag


def place_name(place: str) -> Html:
    """Return the name of a place, as it heads a row or a figure."""
    return tag("span", "All together", class_="whole") if place == GLOBAL else name(place, 40)


def plain_place(place: str) -> str:
    """Return the name of a place without tags, for a label."""
    return "All together" if place == GLOBAL else short(place)


def drift_cell(analysis: Analysis, feature: str, place: str, view: View) -> Html:
    """Return a cell with the numbers of a place's drift and, where it has one, its mark."""
    drift = analysis.drift(feature, place, view)
    if drift is None:
        return cell("–")
    degree = analysis.degree(drift)
    told = f"{drift.psi:.2f}" if drift.ks is None else f"{drift.psi:.2f} / {drift.ks:.2f}"
    sign = tag("strong", mark_text(degree)) if degree != NONE else None
    return cell(join(told, " ", sign), class_="chance" if analysis.may_be_chance(drift) else None)


def left_out_note(number: int, kept: Sequence[str]) -> Html | None:
    """Return a note of the places that are not drawn; None if all are."""
    if not number:
        return None
    shown = f"The {plural(len(kept), 'place')} that differ most are shown; {count(number)} more are in "
    return tag("p", shown, tag("code", "statistics.json"), ".", class_="note")
