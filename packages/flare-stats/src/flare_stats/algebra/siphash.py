"""SipHash-2-4 of many 64-bit words at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
START = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
PART = 8192  # words of which all of the state stays in the processor's cache


def siphash(words: Words, key: bytes) -> Words:
    """Hash each word as a message of 8 bytes, little-endian; a pseudorandom function of the key.

    Source: Aumasson and Bernstein 2012, "SipHash: a fast short-input PRF".

    Args:
        words: of shape ``(n,)``, uint64.
        key: of 16 bytes.

    Returns:
        The hashes, of shape ``(n,)``, uint64.
    """
    hashes = np.empty_like(words)
    for start in range(0, len(words), PART):
        hashes[start : start + PART] = _hashed(words[start : start + PART], key)
    return hashes


def _hashed(words: Words, key: bytes) -> Words:
    halves = np.frombuffer(key, "<u8")
    state = [np.full(len(words), START[at] ^ int(halves[at % 2]), np.uint64) for at in range(4)]
    for message in (words, np.uint64(8 << 56)):  # then the length
        state[3] ^= message
        _round(state, 2)
        state[0] ^= message
    state[2] ^= np.uint64(0xFF)
    _round(state, 4)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _round(state: list[Words], times: int) -> None:
    a, b, c, d = state
    spare = np.empty_like(a)
    for _ in range(times):
        a += b
        _rotate(b, 13, spare)
        b ^= a
        _rotate(a, 32, spare)
        c += d
        _rotate(d, 16, spare)
        d ^= c
        a += d
        _rotate(d, 21, spare)
        d ^= a
        c += b
        _rotate(b, 17, spare)
        b ^= c
        _rotate(c, 32, spare)


def _rotate(words: Words, bits: int, spare: Words) -> None:
    np.right_shift(words, np.uint64(64 - bits), out=spare)
    np.left_shift(words, np.uint64(bits), out=words)
    np.bitwise_or(words, spare, out=words)
