"""Other encodings of the same values: case, spaces, yes and no, decimal commas, codes for missing values."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping

from flare_stats.contract.breaches import Telling
from flare_stats.contract.model import ColumnRules
from flare_stats.contract.profile import ColumnProfile
from flare_stats.contract.values import number_of

TOKENS = frozenset(
    (
        *("", "?", "-", "--", ".", "..", "*", "x", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "inf", "-inf"),
        *("missing", "unknown", "unk", "not known", "nd", "n.d.", "not available", "not applicable", "k.a."),
    )
)
"""Texts that stand for a missing value, in lower case."""

_VOCABULARIES = (
    (
        frozenset(("0", "no", "n", "false", "f", "off", "absent", "negative", "neg", "none", "-", "nein", "non")),
        frozenset(("1", "yes", "y", "true", "t", "on", "present", "positive", "pos", "+", "ja", "j", "oui", "o", "si")),
    ),
    (
        frozenset(("m", "male", "man", "men", "boy")),
        frozenset(("f", "female", "woman", "women", "w", "girl")),
    ),
)
"""Words for the same two things."""

_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")
_THOUSANDS = re.compile(r"\s*[+-]?\d{1,3}(,\d{3})+(\.\d+)?\s*")
_WITH_UNIT = re.compile(r"\s*[<>≤≥~]?\s*[+-]?\d+([.,]\d+)?\s*[^\d\s].{0,15}")


def of_numbers(column: ColumnProfile) -> str:
    """Return how the texts in a column of numbers are written; they may be numbers of another form."""
    forms: dict[str, int] = {}
    tokens: dict[str, int] = {}
    for text, count in column.words.items():
        form = _form(text)
        forms[form] = forms.get(form, 0) + count
        if form == "token":
            tokens[text.strip()] = tokens.get(text.strip(), 0) + count
    most = max(forms, key=lambda form: forms[form])
    if forms[most] < 0.9 * sum(forms.values()):
        return "numbers and texts are mixed"
    if most == "token":
        codes = " and ".join(f"'{token}'" for token in sorted(tokens, key=lambda token: -tokens[token])[:3])
        return f"{codes} as a code for missing values"
    mixed = "numbers and texts are mixed" if column.count else "texts in place of numbers"
    return {"comma": "decimal comma in place of a point", "thousands": "commas between thousands"}.get(
        most, "numbers are written with a unit or a sign" if most == "unit" else mixed
    )


def _form(text: str) -> str:
    if text.strip().lower() in TOKENS:
        return "token"
    if _THOUSANDS.fullmatch(text) and len(text.strip().partition(",")[2]) >= 3 and "." in text:
        return "thousands"
    if _COMMA.fullmatch(text):
        return "comma"
    return "unit" if _WITH_UNIT.fullmatch(text) else "text"


def of_categories(rules: ColumnRules, column: ColumnProfile, telling: Telling) -> str:
    """Return how the categories of a column are written otherwise, or what is new among them.

    Values of the site are named only if they are known codes, or as many rows as may be told have them.
    """
    expected = list(rules.categories)
    seen = {value: count for value, count in column.categories.items() if count}
    new = {value: count for value, count in seen.items() if value not in rules.categories}
    if not new:
        return "many different values in place of categories" if column.rest else ""
    if all(value.strip().lower() in TOKENS for value in new):
        codes = " and ".join(f"'{value}'" for value in sorted(new))
        return f"{codes} as a code for missing values"
    for text, spell in _SPELLINGS:
        spelled = {spell(value) for value in expected}
        if sum(count for value, count in new.items() if spell(value) in spelled) >= 0.7 * sum(new.values()):
            return text
    if by_meaning := _by_meaning(rules, seen):
        return by_meaning
    if offset := _offset(expected, seen):
        return offset
    numbers, texts = (sum(is_number == (number_of(each) is not None) for each in new) for is_number in (True, False))
    if not any(number_of(each) is not None for each in expected) and numbers and not texts:
        return "numbers in place of the categories"
    if all(number_of(each) is not None for each in expected) and texts and not numbers:
        return "names in place of numbered categories"
    if column.texts and column.count and numbers and texts:
        return "numbers and texts are mixed"
    told = [value for value, count in sorted(new.items(), key=lambda each: -each[1]) if count >= telling.least][:5]
    names = ", ".join(f"'{value}' ({telling.counted(new[value], column.present, 'values')})" for value in told)
    return f"new categories: {names}" if told else f"new categories, of fewer than {telling.least} rows each"


_SPELLINGS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("spaces around the values", str.strip),
    ("upper and lower case", str.casefold),
    ("spaces, and upper and lower case", lambda text: text.strip().casefold()),
    ("another form of accents or signs", lambda text: unicodedata.normalize("NFKC", text)),
    (
        "other separators in the values",
        lambda text: "".join(each for each in unicodedata.normalize("NFKD", text).casefold() if each.isalnum()),
    ),
)


def _by_meaning(rules: ColumnRules, seen: Mapping[str, int]) -> str:
    """Return the other words for the same categories, such as Y and N for 1 and 0."""
    by_code = {rules.codes.get(value, value).casefold(): value for value in rules.categories}
    if rules.codes and all(value.casefold() in by_code for value in seen):
        return f"the meanings in place of the codes ({_pairs(seen, {v: by_code[v.casefold()] for v in seen})})"
    for vocabulary in _VOCABULARIES:
        meaning = {_place(vocabulary, value, rules.codes.get(value, "")): value for value in rules.categories}
        found = {value: _place(vocabulary, value) for value in seen}
        if None in meaning or None in found.values() or len(meaning) != len(rules.categories):
            continue
        if len(set(found.values())) == len(found) and set(found.values()) <= meaning.keys():
            return f"other words for the same ({_pairs(seen, {v: meaning[found[v]] for v in seen})})"
    return ""


def _pairs(seen: Mapping[str, int], meant: Mapping[str, str]) -> str:
    return ", ".join(f"{value} for {meant[value]}" for value in sorted(seen))


def _place(vocabulary: tuple[frozenset[str], ...], *texts: str) -> int | None:
    """Return which of the words of a vocabulary one of the texts is."""
    plain = {text.strip().casefold() for text in texts}
    return next((at for at, group in enumerate(vocabulary) if plain & group), None)


def _offset(expected: list[str], seen: Mapping[str, int]) -> str:
    """Return that the categories are numbered from elsewhere, such as 1 and 2 for 0 and 1."""
    numbers = [number_of(value) for value in expected], [number_of(value) for value in seen]
    if any(number is None or number != int(number) for each in numbers for number in each):
        return ""
    wanted, found = ({int(number) for number in each if number is not None} for each in numbers)
    shift = min(found) - min(wanted)
    if shift and {number - shift for number in found} <= wanted:
        return f"numbered from {min(found)} in place of {min(wanted)}"
    return ""
