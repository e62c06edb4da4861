"""``flare job``: submit jobs, follow them and download their runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flare_deploy.cli.output import Form, FormOption, moment, show, table
from flare_deploy.cli.places import KitOption, connect
from flare_runtime.terminal import printable

app = typer.Typer(help="Submit jobs, follow them and download their runs.", no_args_is_help=True)

JobArgument = Annotated[str, typer.Argument(help="The job's id, from 'flare job list'.")]


@app.command()
def submit(
    folder: Annotated[Path, typer.Argument(help="The folder of a job that 'recipe.export(...)' has written.")],
    study: Annotated[str, typer.Option(help="The study whose sites run the job.")] = "default",
    priority: Annotated[int, typer.Option(help="Jobs with a higher priority start first.")] = 0,
    kit: KitOption = None,
    form: FormOption = Form.TEXT,
) -> None:
    """Submit a job and print its id."""
    with connect(kit) as connection:
        job = connection.submit(folder, study=study, priority=priority)
    show(form, job, job["id"])


@app.command("list")
def list_jobs(
    study: Annotated[str | None, typer.Option(help="Only jobs of this study.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(help="At most this number of jobs.", min=1, max=1000)] = 1000,
    after: Annotated[
        str | None, typer.Option(help="Only jobs that come after this one, for the next page.", show_default=False)
    ] = None,
    kit: KitOption = None,
    form: FormOption = Form.TEXT,
) -> None:
    """List jobs, oldest first."""
    with connect(kit) as connection:
        jobs = connection.jobs(study, limit=limit, after=after)
    rows = [
        [
            each["id"],
            each["name"],
            each["study"],
            each["state"],
            each["submitter"],
            moment(each["submitted"]),
            _short(each["reason"]),
        ]
        for each in jobs
    ]
    columns = ["job", "name", "study", "state", "submitter", "submitted", "reason"]
    text = table(columns, rows, empty="no jobs yet; flare job submit FOLDER" if after is None else "no more jobs")
    more = f"\nmaybe more: --after {jobs[-1]['id']}" if len(jobs) == limit else ""
    show(form, jobs, f"{text}{more}")


@app.command("show")
def show_job(job: JobArgument, kit: KitOption = None, form: FormOption = Form.TEXT) -> None:
    """Show a job, and what it is waiting for while it is running."""
    with connect(kit) as connection:
        found = connection.job(job)
    show(form, found, _job_text(found))


@app.command()
def wait(job: JobArgument, kit: KitOption = None, form: FormOption = Form.TEXT) -> None:
    """Wait until a job has ended; the exit code tells how."""
    with connect(kit) as connection:
        for found in connection.changes(job):
            if found["state"] in ("submitted", "waiting") and found["reason"]:
                typer.echo(printable(f"{job} is waiting: {found['reason']}"), err=True)
    show(form, found, _job_text(found))
    from flare_core.errors import JobAborted, JobFailed

    if found["state"] == "failed":
        raise JobFailed(f"the job {job} failed: {found['reason']}", cause=found["reason"])
    if found["state"] == "aborted":
        raise JobAborted(f"the job {job} was {found['reason']}")


@app.command()
def logs(
    job: JobArgument,
    site: Annotated[str | None, typer.Option(help="A site's log instead of the server's.", show_default=False)] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue until the job has ended.")] = False,
    kit: KitOption = None,
) -> None:
    """Print a job's log."""
    with connect(kit) as connection:
        for text in connection.logs(job, site, follow=follow):
            typer.echo(printable(text), nl=False)


@app.command()
def abort(job: JobArgument, kit: KitOption = None, form: FormOption = Form.TEXT) -> None:
    """Abort a waiting or running job."""
    with connect(kit) as connection:
        connection.abort(job)
        found = connection.wait(job)
    show(form, found, f"{job} {found['state']}")


@app.command()
def delete(job: JobArgument, kit: KitOption = None, form: FormOption = Form.TEXT) -> None:
    """Delete a job that has ended, with its results at the server."""
    with connect(kit) as connection:
        connection.delete(job)
    show(form, {"deleted": job}, f"{job} deleted")


@app.command()
def clone(job: JobArgument, kit: KitOption = None, form: FormOption = Form.TEXT) -> None:
    """Submit the same job again and print the new id."""
    with connect(kit) as connection:
        found = connection.clone(job)
    show(form, found, found["id"])


@app.command()
def download(
    job: JobArgument,
    to: Annotated[
        Path | None, typer.Option("--to", "-o", help="The folder to create; ./<job> by default.", show_default=False)
    ] = None,
    kit: KitOption = None,
    form: FormOption = Form.TEXT,
) -> None:
    """Download the folder of a run that has ended."""
    with connect(kit) as connection:
        folder = connection.download(job, (to or Path(job)).absolute())
    show(form, {"job": job, "folder": str(folder)}, str(folder))


def _job_text(job: dict[str, Any]) -> str:
    progress = job.get("progress") or {}
    lines = [
        ("job", f"{job['id']}  {job['name']}"),
        ("study", job["study"]),
        ("submitter", job["submitter"]),
        ("state", job["state"]),
        ("reason", job["reason"]),
        ("submitted", moment(job["submitted"])),
        ("started", moment(job["started"])),
        ("ended", moment(job["ended"])),
        ("attempts", job["attempts"] if job["attempts"] > 1 else ""),
        ("round", "" if progress.get("round") is None else f"{progress['round']} of {progress['rounds']}"),
        ("waiting for", progress.get("waiting_for", "")),
        ("absent", "; ".join(f"{site}: {reason}" for site, reason in progress.get("absent", {}).items())),
    ]
    return "\n".join(f"{label:<11} {value}" for label, value in lines if value != "")


def _short(text: str) -> str:
    line = text.strip().splitlines()[0] if text.strip() else "-"
    return line if len(line) <= 60 else f"{line[:59]}…"
