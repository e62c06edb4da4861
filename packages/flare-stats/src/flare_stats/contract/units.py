"""Factors between units that are taken for each other, to explain why a column's numbers differ from a contract's."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Conversion:
    """A change of a column's numbers that turns the expected unit into another one.

    Attributes:
        text: the change of the numbers.
        back: turns the numbers into the expected unit.
        unit, instead_of: names of the two units; empty if they are not known.
        of: what is measured, if the factor depends on that.
    """

    text: str
    back: Callable[[Numbers], Numbers]
    unit: str = ""
    instead_of: str = ""
    of: str = ""

    def fits(self, unit: str) -> bool:
        """Return True if the expected unit is the one that a contract names."""
        plain = unit.strip().lower()
        singular = plain.removesuffix("s") or plain
        names = {plain, singular, _NAMES.get(plain), _NAMES.get(singular)}
        return bool(unit) and self.instead_of.lower() in names

    def described(self, unit: str) -> str:
        """Return the change in words, with the names of units as far as they go with that of the contract."""
        if not self.unit or (unit and not self.fits(unit)):
            return self.text
        of = f" of {self.of}" if self.of else ""
        return f"{self.text} ({'' if unit else 'such as '}{self.unit} instead of {self.instead_of}{of})"


# One unit, another one, how many of the other make one, and of what.
_FACTORS = (
    ("in", "cm", 2.54, ""),
    ("in", "mm", 25.4, ""),
    ("cm", "mm", 10.0, ""),
    ("m", "cm", 100.0, ""),
    ("m", "mm", 1000.0, ""),
    ("ft", "m", 0.3048, ""),
    ("ft", "cm", 30.48, ""),
    ("m", "in", 39.3701, ""),
    ("mi", "km", 1.609344, ""),
    ("km", "m", 1000.0, ""),
    ("kg", "lb", 2.20462, ""),
    ("kg", "g", 1000.0, ""),
    ("g", "mg", 1000.0, ""),
    ("mg", "µg", 1000.0, ""),
    ("oz", "g", 28.3495, ""),
    ("l", "dl", 10.0, ""),
    ("l", "ml", 1000.0, ""),
    ("gal", "l", 3.78541, ""),
    ("mmol/l", "mg/dl", 18.0182, "glucose"),
    ("mmol/l", "mg/dl", 38.67, "cholesterol"),
    ("mmol/l", "mg/dl", 88.57, "triglycerides"),
    ("mmol/l", "mg/dl", 2.8, "urea nitrogen"),
    ("mg/dl", "µmol/l", 88.42, "creatinine"),
    ("mg/dl", "µmol/l", 17.1, "bilirubin"),
    ("mg/dl", "g/l", 0.01, ""),
    ("kpa", "mmhg", 7.50062, ""),
    ("kcal", "kj", 4.184, ""),
    ("fraction", "%", 100.0, ""),
    ("year", "month", 12.0, ""),
    ("year", "day", 365.25, ""),
    ("month", "day", 30.4375, ""),
    ("week", "day", 7.0, ""),
    ("day", "hour", 24.0, ""),
    ("hour", "minute", 60.0, ""),
    ("minute", "second", 60.0, ""),
    ("hour", "second", 3600.0, ""),
    ("thousand", "one", 1000.0, ""),
    ("million", "one", 1e6, ""),
)
_NAMES = {
    **dict.fromkeys(("inch", "inche", '"'), "in"),
    **dict.fromkeys(("foot", "feet"), "ft"),
    **dict.fromkeys(("meter", "metre"), "m"),
    **dict.fromkeys(("centimeter", "centimetre"), "cm"),
    **dict.fromkeys(("millimeter", "millimetre"), "mm"),
    **dict.fromkeys(("kilometer", "kilometre"), "km"),
    **dict.fromkeys(("mile",), "mi"),
    **dict.fromkeys(("kilogram", "kilo"), "kg"),
    **dict.fromkeys(("gram",), "g"),
    **dict.fromkeys(("pound",), "lb"),
    **dict.fromkeys(("umol/l", "μmol/l"), "µmol/l"),
    **dict.fromkeys(("ug", "mcg", "μg"), "µg"),
    **dict.fromkeys(("yr", "a"), "year"),
    **dict.fromkeys(("mo",), "month"),
    **dict.fromkeys(("d",), "day"),
    **dict.fromkeys(("h", "hr"), "hour"),
    **dict.fromkeys(("min",), "minute"),
    **dict.fromkeys(("s", "sec"), "second"),
    **dict.fromkeys(("percent", "pct"), "%"),
    **dict.fromkeys(("c", "celsiu", "celsius", "degc"), "°c"),
    **dict.fromkeys(("f", "fahrenheit", "degf"), "°f"),
    **dict.fromkeys(("kelvin",), "k"),
}


def conversions() -> tuple[Conversion, ...]:
    """Return the known conversions, in both directions."""
    found = []
    for one, other, factor, of in _FACTORS:
        found += [_times(factor, other, one, of), _times(1 / factor, one, other, of)]
    return (*found, *_AFFINE, *_LOGARITHMS)


def fitted_factor(reference: Numbers, values: Numbers) -> tuple[Conversion, ...]:
    """Return the factor between the quantiles of a reference and those of a column, if all are positive.

    Args:
        reference: some quantiles of the reference, ascending.
        values: the same quantiles of the column.
    """
    if not ((reference > 0).all() and (values > 0).all()):
        return ()
    return (_times(float(f"{np.exp(np.median(np.log(values / reference))):.3g}")),)


def fitted_change(reference: Numbers, values: Numbers) -> tuple[Conversion, ...]:
    """Return the linear change between quantiles by least squares, if there is one; arguments as of the factor."""
    spread = float(np.sum((reference - reference.mean()) ** 2))
    slope = float(np.sum((reference - reference.mean()) * (values - values.mean()))) / spread if spread > 0 else 0.0
    if not slope:
        return ()
    offset = float(values.mean() - slope * reference.mean())
    return (_affine(slope, offset, f"a linear change (× {slope:.3g} {offset:+.3g})"),)


def _times(factor: float, unit: str = "", instead_of: str = "", of: str = "") -> Conversion:
    return Conversion(f"a constant factor of {factor:.6g}", lambda numbers: numbers / factor, unit, instead_of, of)


def _affine(slope: float, offset: float, text: str, unit: str = "", instead_of: str = "") -> Conversion:
    return Conversion(text, lambda numbers: (numbers - offset) / slope, unit, instead_of)


def _exponential(base: float) -> Callable[[Numbers], Numbers]:
    return lambda numbers: np.exp(np.minimum(numbers * math.log(base), 700.0))


_AFFINE = (
    _affine(1.8, 32.0, "× 1.8 + 32", "°F", "°C"),
    _affine(1 / 1.8, -32 / 1.8, "(x − 32) / 1.8", "°C", "°F"),
    _affine(1.0, 273.15, "+ 273.15", "K", "°C"),
    _affine(1.0, -273.15, "− 273.15", "°C", "K"),
)
_LOGARITHMS = (
    Conversion("logarithms to the base 10", _exponential(10.0)),
    Conversion("natural logarithms", _exponential(math.e)),
)
