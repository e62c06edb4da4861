"""Names of array dtypes in messages and files.

    bool, int8 … uint64, float16 … float64, complex64, complex128   as numpy names them
    datetime64[us], timedelta64[25s], datetime64                    as numpy names them, unit included
    U12, S12                                                        strings of 12 characters, of 12 bytes
    bfloat16, float8_e4m3fn, float8_e5m2, int4, …                   as ml_dtypes names them, one element a byte or two
    longdouble_128_63                                               bits of storage and of mantissa, by platform

A plain name means little-endian; ``>float32`` is the big-endian form of ``float32``. Objects, structured and void
dtypes and variable-width strings have no name, as their bytes mean nothing in another process.
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from typing import Any

import numpy as np

from flare_fobs.errors import DecodeError, EncodeError

PLAIN_NAMES = frozenset(np.dtype(code).name for code in "?bhiqBHIQefdFD")
_ML_DTYPES = re.compile(
    r"bfloat16|b?complex32|u?int[124]|float(4_e2m1|6_e2m3|6_e3m2)fn|float8_e\d+m\d+(b\d+)?(fn|fnu|fnuz)?"
)
_WITH_SIZE = re.compile(
    r"[US][1-9]\d{0,9}|(datetime64|timedelta64)(\[([1-9]\d{0,8})?([YMWDhms]|ms|us|ns|ps|fs|as)\])?", re.ASCII
)
_LONG = {
    f"longdouble_{np.dtype(np.longdouble).itemsize * 8}_{np.finfo(np.longdouble).nmant}": np.dtype(np.longdouble),
    f"clongdouble_{np.dtype(np.clongdouble).itemsize * 8}_{np.finfo(np.longdouble).nmant}": np.dtype(np.clongdouble),
}
_BYTES_OF = {"S": 1, "U": 4}  # per character
_NATIVE_IS_BIG = sys.byteorder == "big"
_MAX_CACHED = 1024  # a message can name any number of string widths and time units


@lru_cache(_MAX_CACHED)
def dtype_name(dtype: np.dtype[Any]) -> str:
    """Return the name of a dtype.

    Raises:
        EncodeError: arrays of this dtype cannot be serialized; names it and the remedy.
    Example:
        >>> dtype_name(np.dtype("f4")), dtype_name(np.dtype(">i2")), dtype_name(np.dtype("M8[us]"))
        ('float32', '>int16', 'datetime64[us]')
    """
    kind = dtype.type
    if kind.__module__ == "ml_dtypes" and _ML_DTYPES.fullmatch(kind.__name__):
        return kind.__name__
    if dtype.itemsize == 0:
        raise EncodeError(f"arrays of dtype {dtype.str} have no width; use 'S1' or 'U1'")
    match dtype.kind:
        case "U":
            name = f"U{dtype.itemsize // 4}"
        case "S":
            name = f"S{dtype.itemsize}"
        case _ if kind in (np.longdouble, np.clongdouble):
            name = next(name for name, long in _LONG.items() if long.type is kind)
        case _:
            name = dtype.name
    if name not in PLAIN_NAMES and name not in _LONG and not _WITH_SIZE.fullmatch(name):
        raise EncodeError(f"arrays of dtype {dtype} cannot be serialized; {_remedy(dtype)}")
    is_big = dtype.byteorder == ">" or (dtype.byteorder == "=" and _NATIVE_IS_BIG and dtype.itemsize > 1)
    return f">{name}" if is_big else name


@lru_cache(_MAX_CACHED)
def dtype_from_name(name: str) -> np.dtype[Any]:
    """Return the dtype of a name; ml_dtypes is only imported for its own dtypes.

    Raises:
        DecodeError: the name is unknown, or neither numpy nor ml_dtypes has that dtype on this platform.
    Example:
        >>> dtype_from_name("float32"), dtype_from_name(">int16"), dtype_from_name("U5")
        (dtype('float32'), dtype('>i2'), dtype('<U5'))
    """
    if _ML_DTYPES.fullmatch(name):
        return _ml_dtype(name)
    plain = name.removeprefix(">")
    if plain in _LONG:
        dtype = _LONG[plain]
    elif plain in PLAIN_NAMES or _WITH_SIZE.fullmatch(plain):
        try:
            dtype = np.dtype(plain)
        except (TypeError, ValueError, OverflowError) as error:
            raise DecodeError(f"numpy has no dtype {plain!r}: {error}") from error
        # In numpy 1, the size overflows silently.
        if dtype.kind in "US" and dtype.itemsize != int(plain[1:]) * _BYTES_OF[dtype.kind]:
            raise DecodeError(f"numpy has no dtype {plain!r}: the string is too long")
    else:
        raise DecodeError(f"unknown array dtype {name[:40]!r}; the sender runs a newer version or another platform")
    return dtype if name.startswith(">") == _NATIVE_IS_BIG else dtype.newbyteorder()


def _remedy(dtype: np.dtype[Any]) -> str:
    if dtype.hasobject and dtype.kind != "T":
        return "convert it to numbers or strings, or send it as a list"
    if dtype.names:
        return f"send one array for each field: {', '.join(dtype.names)}"
    return "convert it to numbers, bytes or fixed-width strings ('S', 'U')"


def _ml_dtype(name: str) -> np.dtype[Any]:
    import ml_dtypes

    kind = getattr(ml_dtypes, name, None)
    if kind is None:
        raise DecodeError(f"array dtype {name!r} needs a newer ml_dtypes than {ml_dtypes.__version__}; upgrade it here")
    dtype: np.dtype[Any] = np.dtype(kind)
    return dtype
