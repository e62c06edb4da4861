"""The JSON Schemas of the output of ``--format json``, and ``flare schema``, which prints them."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
STATE: Schema = {"enum": ["submitted", "waiting", "running", "finished", "failed", "aborted"]}
MOMENT: Schema = {"type": ["number", "null"], "description": "seconds since the epoch"}
NAMES: Schema = {"type": "array", "items": TEXT}


def _object(optional: dict[str, Schema] | None = None, **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {**properties, **(optional or {})},
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


PROGRESS = _object(
    {
        "round": _or_null(COUNT),
        "rounds": _or_null(COUNT),
        "since": MOMENT,
        "present": NAMES,
        "absent": {"type": "object", "additionalProperties": TEXT},
    },
    waiting_for=TEXT,
)
JOB = _object(
    {"progress": PROGRESS},
    id=TEXT,
    name=TEXT,
    study=TEXT,
    submitter=TEXT,
    blob={"type": "string", "pattern": "^[0-9a-f]{64}$"},
    state=STATE,
    reason=TEXT,
    priority={"type": "integer"},
    submitted=NUMBER,
    started=MOMENT,
    ended=MOMENT,
    attempts=COUNT,
    min_clients=COUNT,
)
SITE = _object(name=TEXT, connected=FLAG, since=MOMENT, certificate_expires=MOMENT, jobs=NAMES)
MEMBER = _object(
    name=TEXT,
    kind=TEXT,
    role=TEXT,
    org=TEXT,
    studies=TEXT,
    state={"enum": ["invited", "active", "revoked"]},
    expires=NUMBER,
    changed=NUMBER,
    address=TEXT,
    connected=FLAG,
)
POC = _object(
    folder=TEXT, admin=TEXT, processes=_list(_object(name=TEXT, running=FLAG, pid={"type": ["integer", "null"]}))
)
PARAMETER: Schema = {"description": "any JSON value"}
SCORE = _object(round=COUNT, value=NUMBER)
RUN = _object(
    id=TEXT,
    job=TEXT,
    folder=TEXT,
    status={"enum": ["finished", "failed", "aborted", "unfinished"]},
    started=NUMBER,
    seconds={"type": ["number", "null"]},
    rounds=COUNT,
    sites=NAMES,
    key_metric={"type": ["string", "null"]},
    best=_or_null(SCORE),
    metrics={"type": "object", "additionalProperties": {"type": ["number", "string"]}},
    recipe=_object({"class": TEXT, "arguments": {"type": "object"}, "added": PARAMETER, "code": PARAMETER}),
    models=_object({"global": TEXT, "best": TEXT}),
    error={"type": ["string", "null"]},
)
CURVE = _object(
    final={"type": ["number", "null"]}, lowest=_or_null(SCORE), highest=_or_null(SCORE), rounds=_list(SCORE)
)
STOPPED = _object(stopped=FLAG)

SCHEMAS: dict[str, Schema] = {
    "up": _object(project=TEXT, address=TEXT, folder=TEXT, pid=COUNT, started=FLAG),
    "down": STOPPED,
    "stop": STOPPED,
    "invite": _object(name=TEXT, kind=TEXT, days=COUNT, token=TEXT),
    "join": _object(
        name=TEXT, kind=TEXT, project=TEXT, folder=TEXT, pid={"type": ["integer", "null"]}, certificate_expires=NUMBER
    ),
    "renew": _object(name=TEXT, certificate_expires=NUMBER),
    "provision": _list(_object(name=TEXT, kind=TEXT, folder=TEXT)),
    "status": _object(
        project=TEXT, address=TEXT, version=TEXT, certificate_days_left=NUMBER, sites=_list(SITE), jobs=_list(JOB)
    ),
    "audit": _list(_object(id=COUNT, time=NUMBER, who=TEXT, what=TEXT, target=TEXT, outcome=TEXT)),
    "site list": _list(MEMBER),
    "site remove": _object(removed=TEXT),
    "job submit": JOB,
    "job list": _list(JOB),
    "job show": JOB,
    "job wait": JOB,
    "job abort": JOB,
    "job clone": JOB,
    "job delete": _object(deleted=TEXT),
    "job download": _object(job=TEXT, folder=TEXT),
    "runs": _list(RUN),
    "runs show": RUN,
    "runs compare": _object(
        runs=_list(RUN),
        differences={"type": "object", "additionalProperties": _list(PARAMETER)},
        metric={"type": ["string", "null"]},
        metrics={"type": "object", "additionalProperties": _list(CURVE)},
    ),
    "poc start": POC,
    "poc status": POC,
    "poc stop": STOPPED,
    "poc clean": _object(removed=TEXT),
    "recipe list": _list(_object(name=TEXT, package=TEXT)),
    "recipe show": _object(
        name=TEXT,
        package=TEXT,
        summary=TEXT,
        arguments=_list(_object(name=TEXT, required=FLAG, default={"type": ["string", "null"]}, help=TEXT)),
    ),
}


def schema(
    command: Annotated[
        str | None, typer.Argument(help="A command, such as 'job list'; all of them by default.", show_default=False)
    ] = None,
) -> None:
    """Print the JSON Schema of a command's output with --format json."""
    if command is not None and command not in SCHEMAS:
        raise typer.BadParameter(f"there is no schema for {command!r}, only for {', '.join(SCHEMAS)}")
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    found = {name: {**draft, "title": f"flare {name}", **each} for name, each in SCHEMAS.items()}
    typer.echo(json.dumps(found if command is None else found[command], indent=2))
