"""The executor of a site: reads its ids, blinds its own and the others', and writes the result.

Tasks and their replies:

    psi.prepare  {}                         -> {"terms", "tag", "size", "minimum", "salt", "rows", "duplicates",
                                               "left_out"}
    psi.pass     {"block", "step", "first", "count"}
                                            -> {} or {"missing": site}
    psi.digests  {}                         -> {"digests": uint8 [n, 16]}, of the next site's ids
    psi.finish   {"positions", "size"}      -> {}: int64 [m] or None, and a number or None
    psi.forget   {}                         -> {}: deletes the secret and the files, when all sites have the result

A block of ids, ``count`` from ``first`` on, takes as many steps as there are sites. In step 0 each site hashes and
blinds the block of its own ids; in a later step it fetches from the site before it the points that that site made in
the step before, and blinds them. Points that have passed all sites are kept as digests. Each task can be done again: a
site that was killed finds its secret and its files. ``missing`` names a site that does not have what is needed, as it
was lost or has begun anew.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from flare_core import Executor, PartyError, SiteContext, SiteError, Task
from flare_psi.agreement import DIGEST_BYTES, Agreement, compared_digests
from flare_psi.errors import PSIError
from flare_psi.group import COMPRESSED_BYTES, MalformedPointError, hash_to_curve, multiply
from flare_psi.ids import Items, Normalisation
from flare_psi.site.folder import SiteFiles
from flare_psi.site.outbox import TOPIC
from flare_psi.site.result import write_result

LEAST_SALT_BYTES = 16


class PSIExecutor(Executor):
    """Does a site's part of an intersection.

    Args:
        local_psi: supplies the ids; see :class:`~flare_psi.PSI`.
        columns: the names of the parts of a key.
        normalize: the rules for each part; see :class:`~flare_psi.ids.Normalisation`.
        result: ``ids`` or ``cardinality``.
        receivers: the sites that learn the result; None for all.
        pad_to: make the number of ids a multiple of this.
        output_path: of the result; a relative one begins at the site's folder, and ``{site}`` stands for its name.
        salt: the path of the salt's file; None if keys are not salted.
        min_intersection: refuse a result with fewer ids; ``psi_min_intersection`` in the site's settings as well.
    """

    def __init__(
        self,
        local_psi: Any,
        *,
        columns: Sequence[str] = ("id",),
        normalize: Sequence[str | None] | None = None,
        result: str = "ids",
        receivers: Sequence[str] | None = None,
        pad_to: int | None = None,
        output_path: str = "intersection.csv",
        salt: str | None = None,
        min_intersection: int = 0,
    ) -> None:
        self.local_psi = local_psi
        self.columns = list(columns)
        self.normalize = normalize
        self.result = result
        self.receivers = receivers
        self.pad_to = pad_to
        self.output_path = output_path
        self.salt = salt
        self.min_intersection = min_intersection
        self._items: Items | None = None
        self._pool: ThreadPoolExecutor | None = None

    def execute(self, task: Task, context: SiteContext) -> Any:
        files = SiteFiles(context.folder)
        if (done := files.done) is not None:
            return done if task.name == "psi.prepare" else {}
        match task.name:
            case "psi.prepare":
                return self._prepare(files, context)
            case "psi.pass":
                return self._pass(files, context, **task.data)
            case "psi.digests":
                return self._digests(files)
            case "psi.finish":
                return self._finish(files, context, **task.data)
            case "psi.forget":
                files.finish(self._prepare(files, context))
                return {}
        raise SiteError(
            f"{context.party}: there is no task {task.name!r}; use the same version everywhere", site=context.party
        )

    def _prepare(self, files: SiteFiles, context: SiteContext) -> dict[str, Any]:
        """Read the ids, if that was not done before, and describe them."""
        site, terms = context.party, self._terms(context)
        _, tag = files.secret()
        items, salt = self._opened(files, context), self._salt(site)
        minimum = max(int(self.min_intersection), _minimum(context))
        is_open = self.pad_to is None
        return {
            "terms": terms.text,
            "tag": tag.hex(),
            "size": len(items),
            "minimum": minimum,
            "salt": None if salt is None else hmac.digest(salt, b"check " + terms.tag, "sha256").hex(),
            "rows": items.rows if is_open else None,
            "duplicates": int(items.counts.sum()) - items.distinct if is_open else None,
            "left_out": items.left_out if is_open else None,
        }

    def _terms(self, context: SiteContext) -> Agreement:
        sites = tuple(context.endpoint.parties[1:])
        return Agreement(
            job=context.job_id,
            sites=sites,
            result=self.result,
            receivers=sites if self.receivers is None else tuple(self.receivers),
            parts=len(self.columns),
            normalisation=tuple(Normalisation(self.normalize).texts),
            is_salted=self.salt is not None,
            pad_to=self.pad_to,
        )

    def _opened(self, files: SiteFiles, context: SiteContext) -> Items:
        if self._items is None:
            if not Items.are_in(files.folder):
                self._read(files, context)
            self._items = Items.open(files.folder)
        return self._items

    def _read(self, files: SiteFiles, context: SiteContext) -> None:
        site = context.party
        if not callable(getattr(self.local_psi, "load_items", None)):
            raise PSIError(f"{site}: has no ids; name the site in per_site_config, or give local_psi for all sites")
        self.local_psi.site = site
        try:
            items = Items.write(
                files.folder,
                _until(context, self.local_psi.load_items()),
                columns=self.columns,
                normalisation=Normalisation(self.normalize),
                pad_to=self.pad_to,
            )
        except PSIError as error:
            raise PSIError(f"{site}: {error}") from error
        if items.left_out:
            some = (
                f"{items.left_out:,} of {items.rows:,}" if self.pad_to is None else "some"
            )  # which would show the number
            context.warn(f"{some} rows have no id that can be used, and are left out")
        if self.salt is not None:
            context.warn(
                "the salt keeps those who do not know it from testing guesses of ids, even with all secrets of the run;"
                " a site that puts guesses into its own file still learns which of them the others have"
            )

    def _salt(self, site: str) -> bytes | None:
        if self.salt is None:
            return None
        path = Path(self.salt.replace("{site}", site)).expanduser()
        if not path.is_file():
            raise PSIError(f"{site}: the salt {path.absolute()} is not a file; put the salt of all sites there")
        salt = path.read_bytes()
        if len(salt) < LEAST_SALT_BYTES:
            raise PSIError(
                f"{site}: the salt {path} has {len(salt)} bytes; make one of at least {LEAST_SALT_BYTES} at random"
            )
        return salt

    def _pass(
        self, files: SiteFiles, context: SiteContext, block: int, step: int, first: int, count: int
    ) -> dict[str, Any]:
        """Do one step of a block."""
        site = context.party
        if not files.has_secret or not Items.are_in(files.folder):
            return {"missing": site}
        if files.block(block, step) is not None:
            return {}
        terms, (secret, _) = self._terms(context), files.secret()
        if step == 0:
            messages = self._messages(files, context, range(first, first + count))
            points = hash_to_curve(messages, terms.tag, self._threads)
        else:
            before = terms.after(site, -1)
            try:
                received = context.endpoint.request(before, TOPIC, [block, step - 1])
            except PartyError:  # it is lost; the server tells when it is back
                received = None
            if received is None:
                return {"missing": before}
            points = _points(received, count, before)
        try:
            blinded = multiply(points, secret, self._threads).tobytes()
        except MalformedPointError as error:
            raise SiteError(f"{before}: sent a malformed point, block {block}: {error}", site=before) from None
        if step < len(terms.sites) - 1:
            files.put_block(block, step, blinded)
        else:
            files.put_digests(first, compared_digests(_split(blinded)))
        return {}

    def _messages(self, files: SiteFiles, context: SiteContext, places: Sequence[int]) -> list[bytes]:
        keys, salt = self._opened(files, context).keys(places), self._salt(context.party)
        return keys if salt is None else [hmac.digest(salt, key, "sha256") for key in keys]

    @property
    def _threads(self) -> ThreadPoolExecutor | None:
        """Threads for the cores of this process; None if it has one."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if cores > 1 and self._pool is None:
            self._pool = ThreadPoolExecutor(cores, thread_name_prefix="flare-psi")
        return self._pool

    def _digests(self, files: SiteFiles) -> dict[str, Any]:
        """Return the digests; where only their number counts, sorted, so that nobody can tell the ids apart."""
        digests = np.frombuffer(files.digests(), np.uint8).reshape(-1, DIGEST_BYTES)
        if self.result == "cardinality":
            digests = digests[np.lexsort(digests.T[::-1])]
        return {"digests": digests}

    @staticmethod
    def _check_may_learn(terms: Agreement, site: str, positions: Any, size: int | None) -> None:
        """Refuse a result that the sites have not agreed to give this one.

        Raises:
            PSIError: the server sends more than the terms allow.
        """
        if size is not None and site not in terms.receivers:
            raise PSIError(f"{site}: the server sent the result, but the sites agreed that {site} does not learn it")
        if positions is not None and (terms.result != "ids" or site not in terms.receivers):
            raise PSIError(f"{site}: the server sent places of ids, but the sites agreed that {site} learns none")

    def _finish(self, files: SiteFiles, context: SiteContext, positions: Any, size: int | None) -> dict[str, Any]:
        """Write the result, as far as this site may learn it."""
        terms = self._terms(context)
        self._check_may_learn(terms, context.party, positions, size)
        items = self._opened(files, context)
        path = context.folder / Path(self.output_path.replace("{site}", context.party)).expanduser()
        write_result(path, items, self.columns, positions, size, terms)
        if size is not None and self.pad_to is None and items.distinct:
            context.log("match_rate", size / items.distinct)
        return {}


def _minimum(context: SiteContext) -> int:
    """Return the site's own least size of an intersection.

    Raises:
        PSIError: it is no integer from 0.
    """
    value = context.config.get("psi_min_intersection", 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise PSIError(f"{context.party}: psi_min_intersection is {value!r} in the site's settings; give an integer")
    return value


def _until(context: SiteContext, items: Any) -> Any:
    """Yield the items, and stop with an error when the run has ended."""
    for at, item in enumerate(items):
        if at % 4096 == 0 and context.cancelled.is_set():
            raise PSIError("the run has ended while the ids were read")
        yield item


def _points(received: Any, count: int, sender: str) -> Any:
    if not isinstance(received, bytes | bytearray | memoryview) or len(received) != count * COMPRESSED_BYTES:
        size = len(received) if isinstance(received, bytes | bytearray | memoryview) else type(received).__name__
        raise SiteError(f"{sender}: sent {size} bytes where {count} points were expected", site=sender)
    return np.frombuffer(received, np.uint8).reshape(-1, COMPRESSED_BYTES)


def _split(points: bytes) -> list[bytes]:
    return [points[at : at + COMPRESSED_BYTES] for at in range(0, len(points), COMPRESSED_BYTES)]
