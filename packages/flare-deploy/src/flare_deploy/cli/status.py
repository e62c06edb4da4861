"""``flare status`` and ``flare audit``: the current state of a project, and who has changed it."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from flare_deploy.cli.output import Form, FormOption, ago, moment, show, table
from flare_deploy.cli.places import KitOption, connect

WARN_DAYS = 30


def status(kit: KitOption = None, form: FormOption = Form.TEXT) -> None:
    """Show the sites, and what each job is waiting for and since when."""
    with connect(kit) as connection:
        found = connection.status()
    show(form, found, status_text(found))


def status_text(found: dict[str, Any]) -> str:
    """Return the text that ``flare status`` prints."""
    sites = [
        [
            each["name"],
            "connected" if each["connected"] else "not connected",
            ago(each["since"]),
            ", ".join(each["jobs"]) or "-",
        ]
        for each in found["sites"]
    ]
    jobs = []
    for each in found["jobs"]:
        progress = each.get("progress", {})
        waiting_for = progress.get("waiting_for") or each["reason"] or "-"
        since = progress.get("since") or each["submitted"]
        done = "-" if progress.get("round") is None else f"{progress['round']} of {progress['rounds']}"
        jobs.append([each["id"], each["name"], each["state"], done, waiting_for, ago(since)])
    left = found["certificate_days_left"]
    warnings = [f"warning: the server's certificate expires in {left:.0f} days"] if left < WARN_DAYS else []
    for each in found["sites"]:
        days = (each["certificate_expires"] or float("inf")) / 86400 - time.time() / 86400
        if days < WARN_DAYS:
            warnings.append(
                f"warning: the certificate of {each['name']} expires in {days:.0f} days; 'flare renew' there"
            )
    return "\n".join(
        [
            f"project {found['project']} at {found['address']}, version {found['version']},"
            f" certificate valid for {left:.0f} days",
            "",
            table(
                ["site", "state", "for", "jobs"],
                sites,
                empty="no site has joined; flare invite site-1",
            ),
            "",
            table(["job", "name", "state", "round", "waiting for", "since"], jobs, empty="no open jobs"),
            *warnings,
        ]
    )


def audit(
    last: Annotated[int, typer.Option(help="The number of entries.", min=1)] = 50,
    kit: KitOption = None,
    form: FormOption = Form.TEXT,
) -> None:
    """Show the audit log: who requested what, and whether it was allowed."""
    with connect(kit) as connection:
        found = connection.audit(last)
    rows = [[moment(each["time"]), each["who"], each["what"], each["target"], each["outcome"]] for each in found]
    show(form, found, table(["time", "who", "what", "target", "outcome"], rows, empty="no entries yet"))
