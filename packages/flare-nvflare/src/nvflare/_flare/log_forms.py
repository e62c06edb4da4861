"""The logs of a run in the forms of NVIDIA FLARE's, derived from Flare's own.

<party>/log.txt         a link to Flare's: at the server records, at a site what its script prints
<party>/log_fl.txt      another one
<party>/log.json        a JSON object for each record: asctime, identity, name, fullName, levelname, fl_ctx, message
<party>/error_log.txt   the records from ERROR on
<party>/log_error.txt   a link to it, by its name in 2.7

A printed line is a record of the level INFO, and a traceback one of the level ERROR. Lines without a time have that of
the record before them, at first that of the run's start. In a simulation, records of a site's parts are in the server's
log; they are at the site as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain
from pathlib import Path

from flare_core.job import SERVER
from nvflare.fuel.utils.log_formats import context_of

LOGS = ("log.txt", "log_fl.txt", "log.json", "error_log.txt", "log_error.txt")

Record = dict[str, str]

_ERRORS = ("ERROR", "CRITICAL")
_LEVEL = "(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL)"
_FLARES = re.compile(rf"(?P<time>\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d,\d{{3}}) {_LEVEL} +\d+ (?P<name>\S+) (?P<text>.*)")
_PYTHONS = re.compile(rf"{_LEVEL}:(?P<name>[^:\s]+):(?P<text>.*)")  # what logging.basicConfig() writes
_TRACEBACK = "Traceback (most recent call last):"
_WARNING = "warning: "
_SCRIPT = "script"
_INDENT = "    "  # of further lines of a record of Flare's


def write_logs(run_folder: Path, target: Path, sites: Iterable[str], began: str | None) -> None:
    """Write the logs of a run.

    Args:
        run_folder: the run's folder.
        target: the folder with one for each party, which exist.
        sites: the names of the sites.
        began: when the run began, in ISO format.
    """
    time = datetime.fromisoformat(began).astimezone().strftime("%Y-%m-%d %H:%M:%S,%f")[:-3] if began else ""
    of_sites: dict[str, list[Record]] = {site: [] for site in sites}

    def of_server() -> Iterator[Record]:
        for record in records(run_folder / "log.txt", SERVER, time):
            of_sites.get(record["identity"], []).append(record)
            yield record

    _write(target / SERVER, run_folder / "log.txt", of_server())
    for site, noted in of_sites.items():
        log = run_folder / "sites" / site / "log.txt"
        _write(target / site, log, chain(noted, records(log, site, time)))


def records(log: Path, party: str, time: str) -> Iterator[Record]:
    """Yield the records of a log of Flare's.

    Args:
        log: the file, which need not exist.
        party: the party that has written it.
        time: the time of its first lines, if they have none.
    """
    if not log.is_file():
        return
    with log.open(encoding="utf-8", errors="replace") as lines:
        for block in _blocks(map(str.rstrip, lines)):
            record = _record(block, party, time)
            time = record["asctime"]
            yield record


def _blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield the lines of each record; those of Flare's and tracebacks have further, indented lines."""
    block: list[str] = []
    for line in lines:
        is_traceback = block[:1] == [_TRACEBACK]
        if block and (line[:1] == " " if is_traceback else line[:4] == _INDENT and _FLARES.fullmatch(block[0])):
            block.append(line)
        elif is_traceback:  # this is its last line, with the exception
            yield [*block, line]
            block = []
        elif line:
            if block:
                yield block
            block = [line]
    if block:
        yield block


def _record(block: list[str], party: str, time: str) -> Record:
    line, more = block[0], block[1:]
    name, level, text = _SCRIPT, "INFO", line
    if (found := _FLARES.fullmatch(line)) is not None:
        time, more = found["time"], [each.removeprefix(_INDENT) for each in more]
    if (found := found or _PYTHONS.fullmatch(line)) is not None:
        name, level, text = found["name"], found["level"], found["text"]
    elif line.startswith(_WARNING):
        level, text = "WARNING", line.removeprefix(_WARNING)
    elif line == _TRACEBACK:
        level = "ERROR"
    context, identity, message = context_of(text)
    return {
        "asctime": time,
        "identity": identity or party,
        "name": name.rpartition(".")[2],
        "fullName": name,
        "levelname": level,
        "fl_ctx": context,
        "message": "\n".join([message, *more]),
    }


def _write(folder: Path, log: Path, found: Iterable[Record]) -> None:
    for name in LOGS:
        if (folder / name).is_symlink():  # to a file of that name among those that the site has written
            (folder / name).unlink()
    errors = folder / "error_log.txt"
    with (folder / "log.json").open("w", encoding="utf-8") as file, errors.open("w", encoding="utf-8") as bad:
        for record in found:
            file.write(json.dumps(record) + "\n")
            if record["levelname"] in _ERRORS:
                parts = [record[key] for key in ("asctime", "name", "levelname", "fl_ctx", "message")]
                bad.write(" - ".join(filter(None, parts)) + "\n")
    (folder / "log_error.txt").symlink_to(errors.name)
    if log.is_file():
        for name in ("log.txt", "log_fl.txt"):
            (folder / name).symlink_to(log.resolve())
