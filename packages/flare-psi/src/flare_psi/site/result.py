"""The result at a site: the common ids in the order in which all sites have them, and a summary.

``intersection.csv`` has a line for each common id: the parts of its key as they were compared, ``first_row`` (its first
row in the site's source, from 0, without the header), and ``rows`` (how many rows have it). A name that ends in
``.txt`` gives the ids alone, one in each line. The summary lies beside it, as ``.json``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flare_psi.agreement import Agreement
from flare_psi.errors import PSIError
from flare_psi.ids import Items
from flare_psi.ids.items import decode

_AT_ONCE = 32_768


def write_result(
    path: Path, items: Items, columns: Sequence[str], positions: Any, size: int | None, terms: Agreement
) -> None:
    """Write what a site learns.

    Args:
        path: of the common ids; folders are made.
        items: the site's ids.
        columns: the names of the parts of a key.
        positions: int64 [m], the places of the common ids; None if the site does not learn them.
        size: their number; None if the site does not learn it.
        terms: of the run.
    Raises:
        PSIError: a place is not one of the site's ids.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    summary = {
        "intersection": size,
        "distinct": items.distinct,
        "rows": items.rows,
        "duplicates": int(items.counts.sum()) - items.distinct,
        "left_out": items.left_out,
        "terms": json.loads(terms.text),
        "digest_of_terms": terms.digest,
    }
    if positions is not None:
        _write_ids(path, items, columns, np.asarray(positions, np.int64))
    _replace(path.with_suffix(".json"), json.dumps(summary, indent=2) + "\n")


def _write_ids(path: Path, items: Items, columns: Sequence[str], positions: Any) -> None:
    if len(positions) and (positions.min() < 0 or positions.max() >= len(items)):
        raise PSIError(f"the server sent places beyond the {len(items):,} ids of this site")
    if (items.order[positions] >= items.distinct).any():
        raise PSIError("the server sent the place of a random id, which no other site can have")
    new = path.with_name(path.name + ".new")
    with new.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        if path.suffix == ".txt":
            file.writelines(",".join(parts) + "\n" for parts, _ in _ids(items, positions))
        else:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow([*columns, "first_row", "rows"])
            rows.writerows([*parts, items.first_rows[at], items.counts[at]] for parts, at in _ids(items, positions))
    new.replace(path)


def _ids(items: Items, positions: Any) -> Iterator[tuple[list[str], int]]:
    """Yield the parts of the key at each place, and its number."""
    for start in range(0, len(positions), _AT_ONCE):
        part = positions[start : start + _AT_ONCE].tolist()
        for place, key in zip(part, items.keys(part), strict=True):
            yield decode(key), int(items.order[place])


def _replace(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
