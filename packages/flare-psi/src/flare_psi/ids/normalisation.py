"""Normalisation: rules that bring different spellings of an id to one. Without rules, ids are exact strings.

The rules of a run are part of its transcript, by their text, so another implementation must follow them to the letter:

    trim             strip white space (Python's str.strip) at both ends
    case             Unicode case folding (Unicode 3.13, str.casefold)
    nfc, nfkc        that Unicode normal form (UAX #15)
    email            trim, nfkc, case and nfkc; must have one @ with text on both sides, and no white space
    phone:<code>     digits after +, such as +491701234567: white space and ()-./ are removed; +… stays, 00… becomes +…,
                     and any other number loses one leading 0 and gets the country's code; must have 7 to 15 digits
    date:<formats>   the date as YYYY-MM-DD, read by the first of the formats, separated by |, that fits; each is made
                     of %d, %m and %Y

A value that a rule refuses is not an id: its row is left out, and counted.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from flare_core import RecipeError

Rule = Callable[[str], str | None]

_PLAIN: dict[str, Rule] = {
    "trim": str.strip,
    "case": str.casefold,
    "nfc": lambda text: unicodedata.normalize("NFC", text),
    "nfkc": lambda text: unicodedata.normalize("NFKC", text),
}


class Normalisation:
    """The rules for each part of a key.

    Args:
        rules: for each part, the names of rules that are applied one after the other, separated by commas; None or an
            empty text leaves it as it is. A single text is for keys of one part. None leaves all as they are.
    Attributes:
        texts: the rules of each part, as they are written into the transcript.
    Raises:
        RecipeError: a rule is unknown, or its argument cannot be used.
    """

    def __init__(self, rules: str | Sequence[str | None] | None) -> None:
        given = [rules] if isinstance(rules, str) else rules or ()
        if not isinstance(given, Sequence) or not all(each is None or isinstance(each, str) for each in given):
            raise RecipeError(f"normalize is {rules!r}; give the rules of each column as text, such as ['email', None]")
        self.texts = [",".join(_names(each or "")) for each in given]
        self._rules = [[_rule(name) for name in _names(each or "")] for each in given]

    def apply(self, parts: Sequence[str]) -> tuple[str, ...] | None:
        """Return the parts of a key as they are compared, or None if one of them is empty or refused."""
        made = []
        for at, part in enumerate(parts):
            value = self._applied(at, part)
            if value is None:
                return None
            made.append(value)
        return tuple(made)

    def cause(self, parts: Sequence[str]) -> tuple[int, str]:
        """Return the place of the first part for which :meth:`apply` refuses a key, and the name of the rule.

        The name is empty if the part is blank, whatever its rules.
        """
        at = next(at for at in range(len(parts)) if self._applied(at, parts[at]) is None)
        value: str | None = parts[at]
        for name in _names(self.texts[at]) if at < len(self.texts) and parts[at].strip() else ():
            if value is not None and (value := _rule(name)(value)) is None:
                return at, name
        return at, ""

    def _applied(self, at: int, part: str) -> str | None:
        value: str | None = part
        for rule in self._rules[at] if at < len(self._rules) else ():
            if value is not None:
                value = rule(value)
        return value or None


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _rule(name: str) -> Rule:
    if name in _PLAIN:
        return _PLAIN[name]
    if name == "email":
        return _email
    kind, _, argument = name.partition(":")
    if kind == "phone":
        return _phone(argument)
    if kind == "date":
        return _date(argument.split("|"))
    raise RecipeError(
        f"normalize has the unknown rule {name!r}; use trim, case, nfc, nfkc, email, phone:<country code> or"
        " date:<formats>"
    )


def _email(text: str) -> str | None:
    made = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text.strip()).casefold())
    return made if re.fullmatch(r"[^@\s]+@[^@\s]+", made) else None


def _phone(code: str) -> Rule:
    if not re.fullmatch(r"[1-9][0-9]{0,2}", code):
        raise RecipeError(f"normalize has the rule 'phone:{code}'; give the country's code, such as phone:49")

    def rule(text: str) -> str | None:
        digits = re.sub(r"[\s()\-./]", "", text)
        if digits.startswith("+"):
            digits = digits[1:]
        elif digits.startswith("00"):
            digits = digits[2:]
        else:
            digits = code + digits.removeprefix("0")
        return "+" + digits if re.fullmatch(r"[0-9]{7,15}", digits, re.ASCII) else None

    return rule


def _date(formats: Iterable[str]) -> Rule:
    known = list(formats)
    for each in known:
        if sorted(re.findall(r"%(.)", each)) != ["Y", "d", "m"]:
            raise RecipeError(
                f"normalize has the date format {each!r}; give %d, %m and %Y once each, as in date:%d.%m.%Y"
            )

    def rule(text: str) -> str | None:
        for each in known:
            try:
                found = datetime.strptime(text.strip(), each)
            except ValueError:
                continue
            return found.strftime("%Y-%m-%d") if found.year > 999 else None
        return None

    return rule
