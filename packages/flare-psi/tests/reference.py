"""The protocol by plain integers, slow and apart from the package: the curve, RFC 9380's suite, and a whole run."""

from __future__ import annotations

import hashlib

P = 2**256 - 2**32 - 977
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
A = 0x3F8731ABDD661ADCA08A5558F0F5D272E953D363CB6F0E5D405447C01A444533
B = 1771
Z = P - 11


def expand(message: bytes, tag: bytes, length: int = 96) -> bytes:
    """RFC 9380, section 5.3.1."""
    ending = tag + bytes([len(tag)])
    zeroth = hashlib.sha256(bytes(64) + message + length.to_bytes(2, "big") + b"\0" + ending).digest()
    blocks = [hashlib.sha256(zeroth + b"\1" + ending).digest()]
    for number in range(2, -(-length // 32) + 1):
        mixed = bytes(a ^ b for a, b in zip(zeroth, blocks[-1], strict=True))
        blocks.append(hashlib.sha256(mixed + bytes([number]) + ending).digest())
    return b"".join(blocks)[:length]


def field_elements(message: bytes, tag: bytes) -> list[int]:
    uniform = expand(message, tag)
    return [int.from_bytes(uniform[at : at + 48], "big") % P for at in (0, 48)]


def root(value: int) -> int | None:
    found = pow(value, (P + 1) // 4, P)
    return found if found * found % P == value % P else None


def map_to_curve(u: int) -> tuple[int, int]:
    """RFC 9380, section 6.6.2, as the text has it, to E', and then the isogeny of appendix E.1."""
    below = (Z * Z * u**4 + Z * u * u) % P
    x = -B * pow(A, -1, P) * (1 + pow(below, -1, P)) % P if below else B * pow(Z * A, -1, P) % P
    y = root(x**3 + A * x + B)
    if y is None:
        x = Z * u * u * x % P
        y = root(x**3 + A * x + B)
    assert y is not None
    if u % 2 != y % 2:
        y = P - y
    return isogeny(x, y)


def isogeny(x: int, y: int) -> tuple[int, int]:
    k1 = (
        0x8E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38DAAAAA8C7,
        0x07D3D4C80BC321D5B9F315CEA7FD44C5D595D2FC0BF63B92DFFF1044F17C6581,
        0x534C328D23F234E6E2A413DECA25CAECE4506144037C40314ECBD0B53D9DD262,
        0x8E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38DAAAAA88C,
    )
    k2 = (
        0xD35771193D94918A9CA34CCBB7B640DD86CD409542F8487D9FE6B745781EB49B,
        0xEDADC6F64383DC1DF7C4B2D51B54225406D36B641F5E41BBC52A56612A8C6D14,
        1,
    )
    k3 = (
        0x4BDA12F684BDA12F684BDA12F684BDA12F684BDA12F684BDA12F684B8E38E23C,
        0xC75E0C32D5CB7C0FA9D0A54B12A0A6D5647AB046D686DA6FDFFC90FC201D71A3,
        0x29A6194691F91A73715209EF6512E576722830A201BE2018A765E85A9ECEE931,
        0x2F684BDA12F684BDA12F684BDA12F684BDA12F684BDA12F684BDA12F38E38D84,
    )
    k4 = (
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEFFFFF93B,
        0x7A06534BB8BDB49FD5E9E6632722C2989467C1BFC8E8D978DFB425D2685C2573,
        0x6484AA716545CA2CF3A70C3FA8FE337E0A3D21162F0D6299A7BF8192BFD2A76F,
        1,
    )
    value = [sum(k * x**power for power, k in enumerate(each)) % P for each in (k1, k2, k3, k4)]
    return value[0] * pow(value[1], -1, P) % P, y * value[2] * pow(value[3], -1, P) % P


def add(p: tuple[int, int] | None, q: tuple[int, int] | None) -> tuple[int, int] | None:
    """The group of secp256k1, y**2 = x**3 + 7; None is the point at infinity."""
    if p is None or q is None:
        return p or q
    if p[0] == q[0]:
        if (p[1] + q[1]) % P == 0:
            return None
        slope = 3 * p[0] * p[0] * pow(2 * p[1], -1, P)
    else:
        slope = (q[1] - p[1]) * pow(q[0] - p[0], -1, P)
    x = (slope * slope - p[0] - q[0]) % P
    return x, (slope * (p[0] - x) - p[1]) % P


def times(scalar: int, point: tuple[int, int] | None) -> tuple[int, int] | None:
    result = None
    for bit in bin(scalar)[2:]:
        result = add(result, result)
        if bit == "1":
            result = add(result, point)
    return result


def hash_to_curve(message: bytes, tag: bytes) -> tuple[int, int]:
    found = add(*(map_to_curve(u) for u in field_elements(message, tag)))
    assert found is not None
    return found


def compressed(point: tuple[int, int]) -> bytes:
    return bytes([2 + point[1] % 2]) + point[0].to_bytes(32, "big")


def digest(message: bytes, tag: bytes, secrets: list[int]) -> bytes:
    """The digest of a message that all sites have blinded."""
    point: tuple[int, int] | None = hash_to_curve(message, tag)
    for secret in secrets:
        point = times(secret, point)
    assert point is not None
    return hashlib.sha256(compressed(point)).digest()[:16]
