"""The check of a site's own data, for a service or an executor there."""

from __future__ import annotations

import importlib
import threading
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from flare_core.files import replacing
from flare_core.service import JobContext
from flare_stats.contract.breaches import Breach, text_of
from flare_stats.contract.check import check
from flare_stats.contract.errors import ContractError
from flare_stats.contract.model import Contract
from flare_stats.contract.policy import SitePolicy
from flare_stats.contract.profile import profile_of
from flare_stats.contract.verdict import Verdict
from flare_stats.privacy import LedgerError, PolicyError
from flare_stats.sources import open_source

DETAILS = "data-contract.txt"
"""The file in a site's own folder that says more than the server may know."""


def judge(contract: Contract, data: Any, context: JobContext) -> Verdict:
    """Check a site's data, and write the details into :data:`DETAILS` in the site's folder.

    Data that cannot be read break the rule ``data``.

    Args:
        contract: the contract.
        data: what :func:`data_of` takes.
        context: the site.
    """
    rows, details = None, ""
    try:
        policy = SitePolicy.of(context.local)
        data = _setting_of(data, context)  # which can name a function, too
        if isinstance(data, Mapping) and "function" in data:
            policy.check_own_code()
        spec = data_of(data, context)
        policy.check_source(spec)
        source = open_source(spec)
        names = policy.shown(column.name for column in source.features())
        table = profile_of(names, _until(context.cancelled, source.chunks(names)), contract)
        shown = replace(contract, columns={name: contract.columns[name] for name in policy.shown(contract.columns)})
        broken = policy.hidden(contract) + check(shown, table, telling=policy.telling)
        details = text_of(broken, details=True)
        policy.note(context, spec, contract)
        broken = policy.told(broken)
        rows = _rounded(table.rows) if table.rows >= policy.least and policy.rules.privacy is None else None
    except (ContractError, LedgerError, PolicyError) as error:
        broken, details = [Breach("", "data", str(error), "a table")], str(error)
    except Exception as error:  # whatever a file or the site's own code raises; its text can hold values
        found = f"the data cannot be read ({type(error).__name__}); {DETAILS} at the site says why"
        broken = [Breach("", "data", found, "a table")]
        details = "".join(traceback.format_exception(error))
    outcome = f"breaks the contract {contract.name!r}:" if broken else f"keeps the contract {contract.name!r}."
    with replacing(context.folder / DETAILS) as partial:
        partial.touch(0o600)
        partial.write_text(f"{context.party} {outcome}\n{details}".rstrip() + "\n", encoding="utf-8")
    return Verdict(context.party, rows, tuple(broken))


def data_of(data: Any, context: JobContext) -> Any:
    """Return what :func:`~flare_stats.sources.open_source` opens at a site.

    Args:
        data: a path, in which ``{site}`` stands for the site's name; a dict with ``path``; ``{"config": key}`` for a
            path in the settings of the job for this site; or ``{"function": "module.name"}`` for what that function
            returns for the site's name.
        context: the site.
    Raises:
        ContractError: there is no such file, setting or function; names it.
    """
    if data is None:
        raise ContractError(f"no data are named for {context.party}; name them with data or per_site_data")
    data = _setting_of(data, context)
    if isinstance(data, Mapping) and "function" in data:
        module, _, name = str(data["function"]).rpartition(".")
        return getattr(importlib.import_module(module), name)(context.party)
    path = data.get("path") if isinstance(data, Mapping) else data
    if not isinstance(path, str):
        raise ContractError(f"the data of {context.party} are {data!r}; give a path, or a dict with 'path'")
    path = path.replace("{site}", context.party)
    if "://" not in path and not Path(path).exists():
        raise ContractError(f"there is no file {path}; a relative path begins at {Path.cwd()}")
    return {**data, "path": path} if isinstance(data, Mapping) else path


def _setting_of(data: Any, context: JobContext) -> Any:
    """Return the data that a setting names, if data are ``{"config": key}``."""
    if not isinstance(data, Mapping) or "config" not in data:
        return data
    key = data["config"]
    if key not in context.config:
        raise ContractError(f"the settings of {context.party} have no {key!r}; add it with recipe.add_client_config")
    found = context.config[key]
    if isinstance(found, Mapping) and "config" in found:
        raise ContractError(f"the setting {key!r} of {context.party} names another setting; give a path")
    return found


def _until(cancelled: threading.Event, chunks: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield chunks until the run is over."""
    for chunk in chunks:
        if cancelled.is_set():
            raise ContractError("the run was over before the check was")
        yield chunk


def _rounded(rows: int) -> int:
    step: int = 10 ** max(0, len(str(rows)) - 2)
    return rows // step * step
