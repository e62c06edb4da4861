"""Outbox: hands the blinded points of a site to the next one, and to nobody else."""

from __future__ import annotations

from typing import Any

from flare_core import JobContext, PartyError, Service
from flare_psi.site.folder import SiteFiles

TOPIC = "psi.block"


class Outbox(Service):
    """Serves the points of a block at a step, ``[block, step]``, as bytes; None if they are not here.

    The next site is the one after this site among the parties of the job. The sender of a request is proved, so the
    server cannot ask, and in a deployment only the next site can read the answer.
    """

    def start(self, context: JobContext) -> None:
        files = SiteFiles(context.folder)

        def serve(sender: str, data: Any) -> bytes | None:
            sites = context.endpoint.parties[1:]
            if sender != sites[(sites.index(context.party) + 1) % len(sites)]:
                raise PartyError(f"{sender} is not the site after {context.party}", party=sender)
            block, step = data
            return files.block(int(block), int(step))

        context.endpoint.handle(TOPIC, serve)

    def stop(self) -> None:
        """Do nothing: requests end with the run."""
