"""The summary of an intersection, as the server knows it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flare_psi.agreement import DIGEST_BYTES
from flare_psi.group import COMPRESSED_BYTES

_BAR = 20
_MIB = 1 << 20


@dataclass(frozen=True)
class Sizes:
    """The numbers of a run.

    Args:
        prepared: by site, its reply to ``psi.prepare``.
        intersection: number of common ids.
        receivers: the sites that learn the result.
        seconds: what the run took, since the server was last started.
    """

    prepared: Mapping[str, Any]
    intersection: int
    receivers: Sequence[str]
    seconds: float

    def sent_bytes(self, site: str) -> int:
        """Return the bytes of points and digests that a site has sent."""
        sites, sizes = list(self.prepared), [int(each["size"]) for each in self.prepared.values()]
        last = (sites.index(site) + 1) % len(sites)
        return COMPRESSED_BYTES * (sum(sizes) - sizes[last]) + DIGEST_BYTES * sizes[last]

    def received_bytes(self, site: str) -> int:
        """Return the bytes of points that a site has received, and 8 for each of its places in the result."""
        sizes = {each: int(reply["size"]) for each, reply in self.prepared.items()}
        result = 8 * self.intersection if site in self.receivers else 0
        return COMPRESSED_BYTES * (sum(sizes.values()) - sizes[site]) + result

    def to_json(self, terms: str) -> str:
        """Return the numbers as JSON, with the terms of the run."""
        names = ("size", "rows", "duplicates", "left_out")
        sites = {
            site: {name: reply[name] for name in names}
            | {"sent_bytes": self.sent_bytes(site), "received_bytes": self.received_bytes(site)}
            for site, reply in self.prepared.items()
        }
        return (
            json.dumps({"intersection": self.intersection, "sites": sites, "terms": json.loads(terms)}, indent=2) + "\n"
        )


def shown(sizes: Sizes) -> tuple[str, list[str], list[tuple[str, ...]]]:
    """Return title, columns and rows of a table with a bar for the part of each site's ids that all have."""
    rows: list[tuple[str, ...]] = []
    for site, reply in sizes.prepared.items():
        rate = sizes.intersection / reply["size"] if reply["size"] else 0.0
        rows.append(
            (
                site,
                f"{reply['size']:,}",
                "hidden" if reply["duplicates"] is None else f"{reply['duplicates']:,}",
                bar(rate),
                f"{rate:.1%}",
                f"{sizes.sent_bytes(site) / _MIB:.1f}",
                f"{sizes.received_bytes(site) / _MIB:.1f}",
                "yes" if site in sizes.receivers else "no",
            )
        )
    columns = ["site", "ids", "duplicates", "in common", "", "MiB sent", "received", "learns"]
    return f"Private set intersection: {sizes.intersection:,} ids in {sizes.seconds:.0f} s", columns, rows


def bar(part: float) -> str:
    """Return a bar of 20 characters, filled in eighths of one."""
    eighths = round(max(0.0, min(1.0, part)) * _BAR * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + " ▏▎▍▌▋▊▉"[rest] if rest else "█" * full).ljust(_BAR, "·")
