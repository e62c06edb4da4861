"""Contracts from YAML, strictly: an unknown key, a wrong value or a rule that cannot hold is an error.

Scalars are taken as they are written: ``no`` is the text "no", and ``01`` is not a number in octal.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from flare_stats.contract.errors import ContractError
from flare_stats.contract.model import KINDS, SHIFT, VERSION, ColumnRules, Contract, LabelRules
from flare_stats.contract.values import canonical, number_of

MAX_BYTES = 16 << 20

_TABLE = (
    *("contract", "name", "rows", "reference_rows", "ordered", "extra", "repeated_rows", "keys", "label", "columns"),
    *("description",),
)
_COLUMN = (
    *("kind", "unit", "required", "missing", "repeated", "range", "usual", "unusual", "categories", "other", "codes"),
    *("numbers", "profile", "shift", "description"),
)
_FOR_KINDS = {
    "range": ("int", "float", "datetime"),
    "usual": ("int", "float", "datetime"),
    "unit": ("int", "float"),
    "categories": ("int", "float", "bool", "category", "text"),
    "profile": ("int", "float", "datetime", "text"),
    "numbers": ("text",),
}


def load(path: str | Path) -> Contract:
    """Read a contract from a file.

    Raises:
        ContractError: the file cannot be read, or is no contract; names the file, the line, the key, the value and the
            remedy.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ContractError(f"{path} has more than {MAX_BYTES >> 20} MiB; is it a contract?")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ContractError(f"{path}: {error.strerror}; give the path of a contract") from error
    except UnicodeDecodeError as error:
        raise ContractError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
    return parse(text, str(path))


def parse(text: str, where: str = "the contract") -> Contract:
    """Read a contract from YAML.

    Args:
        text: the YAML.
        where: the name of the file, for errors.
    Raises:
        ContractError: as :func:`load`.
    """
    try:
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                line = event.start_mark.line + 1
                raise ContractError(f"{where}, line {line}: anchors and aliases are not allowed; repeat the values")
        node = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ContractError(f"{where} is not YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ContractError(f"{where} is nested too deeply; is it a contract?") from error
    return _contract(_Node(node, where, ""))


class _Node:
    """A value in the file: what it is, and where it stands."""

    def __init__(self, node: Any, file: str, key: str) -> None:
        self._node, self._file, self._key = node, file, key

    def wrong(self, remedy: str) -> ContractError:
        """Return the error for this value."""
        line = "" if self._node is None else f", line {self._node.start_mark.line + 1}"
        shown = f"{self._key} is {self._shown()}" if self._key else f"it is {self._shown()}"
        return ContractError(f"{self._file}{line}: {shown}; {remedy}")

    def _shown(self) -> str:
        if isinstance(self._node, yaml.ScalarNode):
            return repr(self._node.value if len(self._node.value) <= 80 else self._node.value[:77] + "…")
        return {yaml.MappingNode: "a mapping", yaml.SequenceNode: "a list"}.get(type(self._node), "empty")

    def mapping(self, known: tuple[str, ...] | None = None) -> dict[str, _Node]:
        """Return the entries of a mapping, whose keys must be among the known ones."""
        if not isinstance(self._node, yaml.MappingNode):
            raise self.wrong("give a mapping, as 'name: value'")
        found: dict[str, _Node] = {}
        for key, value in self._node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _Node(key, self._file, f"a key of {self._key or 'the contract'}").wrong("give a text")
            name = key.value
            entry = _Node(value, self._file, f"{self._key}.{name}" if self._key else name)
            if name in found:
                raise entry.wrong(f"there are two keys {name!r}; remove one")
            if known is not None and name not in known:
                close = get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"the keys here are {', '.join(known)}"
                raise _Node(key, self._file, f"a key of {self._key or 'the contract'}").wrong(hint)
            found[name] = entry
        return found

    def items(self) -> list[_Node]:
        """Return the entries of a list."""
        if not isinstance(self._node, yaml.SequenceNode):
            raise self.wrong("give a list, as [one, other]")
        return [_Node(each, self._file, f"{self._key}[{at}]") for at, each in enumerate(self._node.value)]

    def text(self) -> str:
        """Return a scalar as it is written."""
        if not isinstance(self._node, yaml.ScalarNode):
            raise self.wrong("give a text")
        return str(self._node.value)

    def is_list(self) -> bool:
        """Return True for a list."""
        return isinstance(self._node, yaml.SequenceNode)

    def number(self) -> float:
        """Return a scalar as a finite number."""
        number = number_of(self.text())
        if number is None or abs(number) == float("inf"):
            raise self.wrong("give a number, with a decimal point")
        return number

    def share(self) -> float:
        """Return a number from 0 to 1."""
        share = self.number()
        if not 0 <= share <= 1:
            raise self.wrong("give a share from 0 to 1, such as 0.05 for 5 %")
        return share

    def count(self) -> int:
        """Return a whole number of at least 0."""
        number = self.number()
        if number != int(number) or number < 0:
            raise self.wrong("give a whole number of at least 0")
        return int(number)

    def boolean(self) -> bool:
        """Return true or false."""
        if self.text() not in ("true", "false"):
            raise self.wrong("give true or false")
        return self.text() == "true"

    def bound(self, kind: str) -> float:
        """Return a number, or a date as seconds since 1970."""
        if kind != "datetime":
            return self.number()
        try:
            moment = datetime.fromisoformat(self.text())
        except ValueError:
            raise self.wrong("give a date as 2026-01-31, or with a time as 2026-01-31T12:00:00") from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()

    def pair(self, kind: str = "float") -> tuple[float, float]:
        """Return two ascending bounds."""
        parts = self.items()
        if len(parts) != 2:
            raise self.wrong("give two bounds, as [low, high]")
        low, high = (each.bound(kind) for each in parts)
        if low > high:
            raise self.wrong(
                f"the first bound, {parts[0].text()}, is above the second, {parts[1].text()}; exchange them"
            )
        return low, high


def _contract(node: _Node) -> Contract:
    given = node.mapping(_TABLE)
    if "contract" not in given:
        raise node.wrong(f"write 'contract: {VERSION}' at its beginning, the version of the format")
    if given["contract"].text() != str(VERSION):
        raise given["contract"].wrong(f"this version of flare-stats reads contracts of format {VERSION}")
    if "columns" not in given:
        raise node.wrong("write 'columns:' with the rules of each column")
    columns = {name: _column(name, each) for name, each in given["columns"].mapping().items()}
    if not columns:
        raise given["columns"].wrong("give at least one column")
    values: dict[str, Any] = {"name": given["name"].text() if "name" in given else "data", "columns": columns}
    for name in ("ordered", "extra"):
        if name in given:
            values[name] = given[name].boolean()
    if "rows" in given:
        values["rows"] = _rows(given["rows"])
    if "reference_rows" in given:
        values["reference_rows"] = given["reference_rows"].count()
    if "repeated_rows" in given:
        values["repeated_rows"] = given["repeated_rows"].share()
    if "keys" in given:
        values["keys"] = tuple(_key(each, columns) for each in given["keys"].items())
    if "label" in given:
        values["label"] = _label(given["label"], columns)
    return Contract(**values)


def _rows(node: _Node) -> tuple[int, int | None]:
    parts = node.items()
    if len(parts) != 2:
        raise node.wrong("give the smallest and the largest number of rows, as [100, unlimited]")
    low, high = parts[0].count(), None if parts[1].text() == "unlimited" else parts[1].count()
    if high is not None and low > high:
        raise node.wrong(f"the first bound, {low}, is above the second, {high}; exchange them")
    return low, high


def _key(node: _Node, columns: Mapping[str, ColumnRules]) -> tuple[str, ...]:
    names = [_known(each, columns) for each in node.items()]
    if not names:
        raise node.wrong("give the columns that identify a row together")
    return tuple(names)


def _known(node: _Node, columns: Mapping[str, ColumnRules]) -> str:
    if node.text() not in columns:
        close = get_close_matches(node.text(), columns, n=1)
        raise node.wrong(f"columns has no such column{f'; did you mean {close[0]!r}?' if close else ''}")
    return node.text()


def _label(node: _Node, columns: Mapping[str, ColumnRules]) -> LabelRules:
    given = node.mapping(("column", "balance"))
    if "column" not in given:
        raise node.wrong("write 'column: NAME', the column that a model predicts")
    balance: dict[str, tuple[float, float]] = {}
    if "balance" in given:
        for value, bounds in given["balance"].mapping().items():
            low, high = bounds.pair()
            if low < 0 or high > 1:
                raise bounds.wrong("give two shares from 0 to 1")
            balance[canonical(value)] = (low, high)
    return LabelRules(column=_known(given["column"], columns), balance=balance)


def _column(name: str, node: _Node) -> ColumnRules:
    given = node.mapping(_COLUMN)
    if "kind" not in given:
        raise node.wrong(f"write 'kind: …' with one of {', '.join(KINDS)}")
    kind = given["kind"].text()
    if kind not in KINDS:
        close = get_close_matches(kind, KINDS, n=1)
        raise given["kind"].wrong(f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(KINDS)}")
    for key, kinds in _FOR_KINDS.items():
        if key in given and kind not in kinds:
            raise given[key].wrong(f"only a column of kind {' or '.join(kinds)} has it, and this one is {kind}")
    values: dict[str, Any] = {"name": name, "kind": kind}
    for key in ("missing", "repeated", "unusual", "other", "numbers", "shift"):
        if key in given:
            values[key] = given[key].share()
    for key in ("range", "usual"):
        if key in given:
            values[key] = given[key].pair(kind)
    if "unit" in given:
        values["unit"] = given["unit"].text()
    if "required" in given:
        values["required"] = given["required"].boolean()
    if "categories" in given:
        values["categories"] = _categories(given["categories"])
        values.setdefault("other", 0.0)
    if "codes" in given:
        values["codes"] = {canonical(code): text.text() for code, text in given["codes"].mapping().items()}
    if "profile" in given:
        values["profile"] = _profile(given["profile"], kind)
    values.setdefault("shift", SHIFT)
    for key, needs in (("other", "categories"), ("unusual", "usual")):
        if key in given and needs not in given:
            raise given[key].wrong(f"it needs {needs}: of which are the others?")
    return ColumnRules(**values)


def _categories(node: _Node) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    entries = (
        [(each, each.text(), None) for each in node.items()]
        if node.is_list()
        else [(each, value, each.share()) for value, each in node.mapping().items()]
    )
    for each, value, share in entries:
        if canonical(value) in found:
            raise each.wrong(f"{canonical(value)!r} is there twice; remove one")
        found[canonical(value)] = share
    if not found:
        raise node.wrong("give at least one category, or remove the key")
    if sum(share or 0 for share in found.values()) > 1.05:
        raise node.wrong("the shares add up to more than 1; correct them, or give a list without shares")
    return found


def _profile(node: _Node, kind: str) -> tuple[tuple[float, float], ...]:
    marks: list[tuple[float, float]] = []
    for text, entry in node.mapping().items():
        mark = _Node(yaml.ScalarNode("", text, entry._node.start_mark), entry._file, f"{node._key}'s mark")
        marks.append((mark.bound(kind if kind == "datetime" else "float"), entry.share()))
        if len(marks) > 1 and (marks[-1][0] <= marks[-2][0] or marks[-1][1] < marks[-2][1]):
            raise entry.wrong("the marks must ascend, and so must their shares")
    return tuple(marks)
