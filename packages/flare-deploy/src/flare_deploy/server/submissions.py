"""Submissions: the checks that a job must pass before the server accepts it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from flare_core import JobError
from flare_core.job import check_name
from flare_deploy.archive import read_entry
from flare_deploy.server.scheduler import Needs, natural_order


def read_meta_json(archive: Path) -> dict[str, Any]:
    """Return the content of the meta.json in a job's archive.

    Raises:
        JobError: it is missing, cannot be read, or names no job.
    """
    content = read_entry(archive, "meta.json")
    try:
        meta: dict[str, Any] = json.loads(content)
        check_name(meta["name"], what="a job's name")
        return meta
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise JobError(
            f"the archive is not a job: {error}; submit a folder that 'recipe.export(...)' has written"
        ) from error


def check_possible(needs: Needs, study: str, sites: Sequence[str]) -> None:
    """Reject a job that could never start, with or without the sites that are disconnected now.

    Args:
        needs: the job's.
        study: the job's.
        sites: the sites that take part in that study.
    Raises:
        JobError: too few sites take part in the study, or the job names others.
    """
    wanted = max(needs.min_clients, len(needs.mandatory))
    in_study = f"the study {study!r} ({', '.join(sites) or 'none'})"
    if wanted > len(sites):
        raise JobError(
            f"the job needs {wanted} sites, but {len(sites)} take part in {in_study}; invite more, or ask for fewer"
        )
    unknown = [site for site in natural_order({*needs.sites, *needs.mandatory}) if site not in sites]
    named = [site for site in sites if not needs.sites or site in needs.sites]
    if wanted > len(named) or set(unknown) & set(needs.mandatory):
        raise JobError(
            f"the job names {', '.join(unknown) or 'too few sites'}, and needs {wanted} of the sites that take part in"
            f" {in_study}; correct the names, or invite these sites first{_suggestion(unknown, sites)}"
        )


def _suggestion(unknown: Sequence[str], known: Sequence[str]) -> str:
    close = [match for site in unknown for match in get_close_matches(site, known, n=1)]
    return f"; did you mean {close[0]}?" if close else ""
