"""HTML and SVG as escaped text, and numbers as people read them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape, unescape
from typing import Any

MAX_TITLE = 120
MAX_NAME = 60
UNKNOWN = "–"
_EXPONENT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# Controls, lone surrogates and what is no character, none of which HTML may hold; and what makes text run backwards.
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_VOID = frozenset({"input", "meta", "wbr"})
_PARTS = re.compile(r"(?<=[./_:;,@-])(?=\w)")  # where a long name may go on in the next line


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *children: Any, **attributes: Any) -> Html:
    """Return an element; every child and attribute that is not :class:`Html` is escaped.

    Args:
        name: of the element.
        children: None is left out.
        attributes: ``class_`` stands for class, ``aria_label`` for aria-label; None and False are left out, True has no
            value.

    Example:
        >>> tag("p", "a < b", class_="note", aria_label='"')
        '<p class="note" aria-label="&quot;">a &lt; b</p>'
    """
    shown = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{_escaped(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Html(f"<{name}{shown}>")
    return Html(f"<{name}{shown}>{join(*children)}</{name}>")


def join(*children: Any) -> Html:
    """Return the children one after the other, escaped where they are not HTML."""
    return Html("".join(_escaped(each) for each in children if each is not None))


def _escaped(content: Any) -> str:
    return content if isinstance(content, Html) else escape(_FORBIDDEN.sub("\ufffd", str(content)))


def short(text: str, longest: int = MAX_NAME) -> str:
    """Return text that comes from outside, shortened if it is long."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def name(text: str, longest: int = MAX_NAME) -> Html:
    """Return a name that comes from outside: with a direction of its own, and shortened if it is long."""
    shown = text.strip() or "(no name)"
    parts = [part for each in _PARTS.split(short(shown, longest)) for part in (each, tag("wbr"))][:-1]
    return tag("bdi", *parts, title=None if len(shown) <= longest else short(shown, MAX_TITLE))


def names(texts: Sequence[str], most: int = 6) -> Html:
    """Return names with commas, the last after an "and"; those beyond ``most`` are counted."""
    shown: list[Any] = [name(text) for text in texts[:most]]
    if len(texts) > most:
        shown.append(f"{count(len(texts) - most)} more")
    if len(shown) < 2:
        return join(*shown)
    commas = [part for each in shown[:-1] for part in (each, ", ")][:-1]
    return join(*commas, " and ", shown[-1])


def count(value: float | None) -> str:
    """Return a whole number with commas between thousands."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if abs(value) < 1e15 else figure(value)


def figure(value: float | None, digits: int = 4) -> str:
    """Return a number with the given significant digits; a power of ten where it would have many zeros.

    Example:
        >>> figure(1234.5678), figure(-0.00012), figure(6.02e23)
        ('1,235', '−1.2 × 10⁻⁴', '6.02 × 10²³')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if -4 < size < 7:
        shown = f"{value:,.{max(digits - 1 - size, 0)}f}"
        shown = shown.rstrip("0").rstrip(".") if "." in shown else shown
    else:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        shown = f"{mantissa} × 10{str(int(exponent)).translate(_EXPONENT)}"
    return shown.replace("-", "−")


def aligned(values: Sequence[float | None], digits: int = 4) -> list[str]:
    """Return the numbers of a column, all with as many decimals as the largest needs for the given significant digits.

    Example:
        >>> aligned([14.2, None, 9.7634])
        ['14.20', '–', '9.76']
    """
    known = [abs(value) for value in values if value is not None and math.isfinite(value)]
    largest = max(known, default=0.0)
    whole = all(value == int(value) for value in known)
    smallest = min((value for value in known if value), default=1.0)
    if not 1e-3 <= largest < 1e7 or (smallest < 1e-3 * largest and not whole):
        return [figure(value, digits) for value in values]
    decimals = 0 if whole else max(digits - 1 - math.floor(math.log10(largest)), 0)
    return [UNKNOWN if value is None else f"{value:,.{decimals}f}".replace("-", "−") for value in values]


def percent(share: float | None) -> str:
    """Return a share in per cent; one that would be shown as 0 or 100 without being so, as below or above it."""
    if share is None or not math.isfinite(share):
        return UNKNOWN
    if 0 < share < 0.0005:
        return "< 0.1 %"
    if 0.9995 < share < 1:
        return "> 99.9 %"
    shown = f"{100 * share:.1f}"
    return f"{shown.removesuffix('.0')} %"


def plural(number: float, noun: str, many: str = "") -> str:
    """Return a count with its noun: 1 site, 2 sites."""
    return f"{count(number)} {noun if number == 1 else many or noun + 's'}"


def table(caption: Any, head: list[Any], body: list[list[Any]], *, class_: str = "", label: str = "") -> Html:
    """Return a table whose first column names the rows, in a frame that scrolls sideways and has the keyboard's focus.

    Args:
        caption: stands above the table.
        head: the names of the columns.
        body: rows of cells; a cell made by :func:`cell` has a class of its own.
        class_: of the table.
        label: says what is scrolled, to those who cannot see it; the caption if empty.
    """
    columns = tag("tr", *(each if is_cell(each) else tag("th", each, scope="col") for each in head))
    rows = [
        tag(
            "tr",
            *(
                (each if is_cell(each) else tag("th" if not i else "td", each, scope=None if i else "row"))
                for i, each in enumerate(row)
            ),
        )
        for row in body
    ]
    made = tag(
        "table", tag("caption", tag("span", caption)), tag("thead", columns), tag("tbody", *rows), class_=class_ or None
    )
    return tag("div", made, class_="scroll", role="group", tabindex="0", aria_label=label or plain(caption))


def cell(content: Any, element: str = "td", **attributes: Any) -> Html:
    """Return a cell of a table."""
    return tag(element, content, **attributes)


def plain(content: Any) -> str:
    """Return content without its tags, for an attribute."""
    return unescape(re.sub(r"<[^>]*>", "", content)) if isinstance(content, Html) else str(content)


def is_cell(content: Any) -> bool:
    """Return True for what :func:`cell` makes."""
    return isinstance(content, Html) and content.startswith(("<td", "<th"))
