"""The values of one chunk of a column, told apart: numbers, moments, texts, and those that are missing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Numbers = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_MISSING_HASH = np.uint64(0x9E3779B97F4A7C15)


@dataclass(slots=True)
class Values:
    """The content of a chunk of a column.

    Attributes:
        rows: how many values there are, with the missing ones.
        missing: how many are missing: null, or not a number.
        numbers: the numbers, also those that are spelled as text; moments are seconds since 1970.
        texts: the texts that spell no number, each with its count.
        spelled: how many of the numbers were text.
        is_time, is_bool: what the numbers stand for.
        is_opaque: the values are of a kind that has no rules.
        hashes: a number for each row, which is the same for the same value.
    """

    rows: int
    missing: int = 0
    numbers: Numbers = field(default_factory=lambda: np.empty(0))
    texts: dict[str, int] = field(default_factory=dict)
    spelled: int = 0
    is_time: bool = False
    is_bool: bool = False
    is_opaque: bool = False
    hashes: Hashes = field(default_factory=lambda: np.empty(0, np.uint64))

    @property
    def present_hashes(self) -> Hashes:
        """The hashes of the values that are not missing."""
        return self.hashes if not self.missing else self.hashes[self.hashes != _MISSING_HASH]


def values_of(array: pa.Array) -> Values:
    """Read a chunk of a column of any Arrow type."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return values_of(array.storage)
    if pa.types.is_dictionary(kind):
        return values_of(array.cast(kind.value_type))
    if pa.types.is_run_end_encoded(kind):
        return values_of(pc.run_end_decode(array))
    if pa.types.is_null(kind):
        return Values(len(array), len(array), hashes=np.full(len(array), _MISSING_HASH))
    if pa.types.is_boolean(kind):
        return _from_numbers(array.cast(pa.uint8()), is_bool=True)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _from_numbers(array)
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        seconds = array.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
        return _from_numbers(seconds, is_time=True, scale=1e-6)
    if pa.types.is_duration(kind) or pa.types.is_time(kind):
        unit = pa.duration("us") if pa.types.is_duration(kind) else pa.time64("us")
        return _from_numbers(array.cast(unit, safe=False).cast(pa.int64()), scale=1e-6)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view():
        return _from_texts(array)
    hashes = np.where(_nulls(array), _MISSING_HASH, np.uint64(0))
    return Values(len(array), array.null_count, is_opaque=True, hashes=hashes)


def number_of(text: str) -> float | None:
    """Return the number that a text spells with a decimal point; None if it spells none."""
    return float(text) if _NUMBER.fullmatch(text) else None


def canonical(text: str) -> str:
    """Return a category as contracts write it: ``1`` for ``1.0`` and ``01``, ``true`` for ``True``; else unchanged."""
    return _canonical(text) if len(text) <= 100 else text


@lru_cache(maxsize=1 << 14)
def _canonical(text: str) -> str:
    number = number_of(text)
    if number is not None and text == text.strip():
        return canonical_number(number)
    return text.lower() if text.lower() in ("true", "false") else text


def canonical_number(number: float) -> str:
    """Return a number as a category."""
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else repr(number)


def mixed(hashes: Hashes) -> Hashes:
    """Scatter the bits of hashes. Source: the finalizer of SplitMix64."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


def _from_numbers(array: pa.Array, *, is_time: bool = False, is_bool: bool = False, scale: float = 1.0) -> Values:
    numbers = np.asarray(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64) * scale
    is_missing, is_finite = np.isnan(numbers), np.isfinite(numbers)  # Arrow hands nulls out as NaN
    infinite = int((~is_finite & ~is_missing).sum())
    return Values(
        len(numbers),
        int(is_missing.sum()),
        numbers[is_finite],
        {"inf": infinite} if infinite else {},
        is_time=is_time,
        is_bool=is_bool,
        hashes=np.where(is_missing, _MISSING_HASH, _hashes(numbers)),
    )


def _from_texts(array: pa.Array) -> Values:
    encoded = array.dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    words: list[str] = encoded.dictionary.to_pylist()
    counts = np.bincount(codes[codes >= 0], minlength=len(words)) if words else np.empty(0, np.int64)
    read = [number_of(word) for word in words]
    are_numbers = np.array([number is not None for number in read], bool)
    numbers = np.array([0.0 if number is None else number for number in read])
    hashes = np.array([hash(word) & 0xFFFFFFFFFFFFFFFF for word in words], np.uint64)
    hashes = np.append(np.where(are_numbers, _hashes(numbers), hashes) if words else hashes, _MISSING_HASH)
    texts = {word: int(counts[at]) for at, word in enumerate(words) if read[at] is None}
    spelled = np.repeat(numbers[are_numbers], counts[are_numbers]) if words else numbers
    return Values(len(array), int((codes < 0).sum()), spelled, texts, len(spelled), hashes=hashes[codes])


def _hashes(numbers: Numbers) -> Hashes:
    return mixed((numbers + 0.0).view(np.uint64))  # + 0.0: there is one zero


def _nulls(array: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.is_null(array).to_numpy(zero_copy_only=False))
