"""The executor of a site, whichever it is: the tasks of the server become questions, answers and orders.

Tasks and their replies:

    xgb.describe  {"rank"}           -> {"description", "key"}: the site's columns, and a public key
    xgb.begin     {"session", "layout", "keys", "kept"?}
                                     -> {}
    xgb.lead      {"session", "number", "order" or "answers" or neither}
                                     -> {"question", "step", "data", "masked"}, {"tree", "leaves"}
                                        or {"result", "margins"?}
    xgb.answer    {"session", "question", "step", "data"}
                                     -> {"data", "groups"?, "sizes"?, "seed"?}

``data`` are sealed for the site, by the name of the site where there are several. The label owner seals ``tree``,
``leaves`` and ``margins`` for itself; ``kept`` brings them back: all trees, the margins after the last round, and the
leaves of the trees since. A site that was started again has no session, and replies {"is_behind": True}. The last reply
is kept, and given again if the same task comes again.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag

from flare_core import Executor, ModelError, SiteContext, Task
from flare_xgb.data import DataError, Table, load
from flare_xgb.horizontal.learning import Learning
from flare_xgb.vertical.alignment import common_rows
from flare_xgb.vertical.layout import Layout, aligned, described, place_of, without_column
from flare_xgb.vertical.leader import LabelOwner
from flare_xgb.vertical.owner import FeatureOwner
from flare_xgb.vertical.questions import Grown, Kept, Leading, Order, Question
from flare_xgb.vertical.sealing import KEY_BYTES, SiteKeys, opened, sealed

_BEHIND = {"is_behind": True}


class VerticalExecutor(Executor):
    """Does a site's part of vertical training with its columns.

    Args:
        data_loader: reads the rows.
        xgb_params: XGBoost's parameters, by its names.
        secure: ``plain`` or ``masked``.
        joined_model: the sites agree to give the server their thresholds.
        id_column: the column by which the rows are aligned, or which is left out if ``row_file`` aligns them.
        row_file: the path in the site's folder of the file that aligns the rows; see ``alignment.py``.
        validation_fraction: the part of the rows so aligned to validate with.
        model_file_name: the name of the file of the site's part of the model.
    """

    def __init__(
        self,
        data_loader: Any,
        xgb_params: Mapping[str, Any],
        *,
        secure: str = "plain",
        joined_model: bool = False,
        id_column: str | None = None,
        row_file: str | None = None,
        validation_fraction: float = 0.0,
        model_file_name: str = "model.json",
    ) -> None:
        self.data_loader = data_loader
        self.xgb_params = dict(xgb_params)
        self.secure = secure
        self.joined_model = joined_model
        self.id_column = id_column
        self.row_file = row_file
        self.validation_fraction = validation_fraction
        self.model_file_name = model_file_name
        self._tables: tuple[Table, Table | None] | None = None
        self._keys: SiteKeys | None = None
        self._session: bytes | None = None
        self._owner: FeatureOwner | None = None
        self._leading: Leading | None = None
        self._last: tuple[int, dict[str, Any]] = (0, {})

    def execute(self, task: Task, context: SiteContext) -> Any:
        match task.name:
            case "xgb.describe":
                return self._describe(context, task.data["rank"])
            case "xgb.begin":
                return self._begin(context, **task.data)
        if task.data["session"] != self._session:
            return _BEHIND
        number = task.data["number" if task.name == "xgb.lead" else "step"]
        if number != self._last[0]:
            if number < self._last[0]:
                return _BEHIND
            made = self._lead(context, task.data) if task.name == "xgb.lead" else self._answer(task.data)
            self._last = (number, made)
        return self._last[1]

    def _describe(self, context: SiteContext, rank: int) -> dict[str, Any]:
        site = context.party
        if self._tables is None:
            train, validation = load(self.data_loader, site, rank)
            ids = other = None
            if self.row_file is not None:
                train, validation = self._common_rows(context, train, validation)
            else:
                train, ids = aligned(train, self.id_column, what=f"{site}: ")
                if validation is not None:
                    what = f"{site}: in the rows to validate with, "
                    validation, other = aligned(validation, self.id_column, what=what)
            try:
                self._description = described(train, validation, [ids, other])
            except DataError as error:
                raise DataError(f"{site}: {error}") from None
            self._tables = train, validation
        self._keys = SiteKeys(site)
        return {"description": self._description, "key": self._keys.public_key}

    def _common_rows(self, context: SiteContext, table: Table, validation: Table | None) -> tuple[Table, Table | None]:
        """Return the rows that all sites have: those to train on, and the last ones to validate with."""
        site = context.party
        if validation is not None:
            raise DataError(f"{site}: the loader returns rows to validate with, which are not aligned; give a fraction")
        assert self.row_file is not None
        if self.id_column is not None:
            table = without_column(table, place_of(table, self.id_column, f"{site}: "))
        rows = common_rows(table, context.folder / self.row_file, site=site)
        last = round(self.validation_fraction * len(rows))
        if not last:
            return rows, None
        return rows.take(slice(len(rows) - last)), rows.take(slice(len(rows) - last, len(rows)))

    def _begin(
        self,
        context: SiteContext,
        session: bytes,
        layout: Mapping[str, Any],
        keys: Mapping[str, bytes],
        kept: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        if self._tables is None or self._keys is None or keys[context.party] != self._keys.public_key:
            return _BEHIND  # it was started again since it described its columns
        made, site = Layout.from_dict(layout), context.party
        learning = Learning(self.xgb_params, made.names or made.width)
        channels = {
            other: self._keys.channel(other, keys[other], session)
            for other in (made.feature_owners if site == made.label_owner else [made.label_owner])
        }
        path = context.folder / self.model_file_name
        self._session, self._channels, self._last = bytes(session), channels, (0, {})
        if site != made.label_owner:
            channel = channels[made.label_owner]
            self._owner = FeatureOwner(site, *self._tables, made, learning, channel, lambda part: part.save(path))
            return {}
        self._leading = LabelOwner(
            *self._tables,
            made,
            learning,
            kept=_opened_kept(context, kept or {}),
            channels=channels,
            is_masked=self.secure == "masked",
            is_joined=self.joined_model,
            write=lambda part: part.save(path),
        ).lead()
        self._step, self._grown = 0, len(kept["trees"]) if kept else 0
        return {}

    def _lead(self, context: SiteContext, data: Mapping[str, Any]) -> dict[str, Any]:
        """Go on to the next question, tree or result."""
        assert self._leading is not None
        sent: Any = None
        if "order" in data:
            sent = Order(**data["order"])
        elif "answers" in data:
            sent = {site: self._opened(site, each) for site, each in data["answers"].items()}
        found = self._leading.send(sent)
        if isinstance(found, Question):
            self._step += 1
            sealed_data = {site: self._channels[site].seal(self._step, each) for site, each in found.data.items()}
            masked = dict(found.masked)
            return {"question": found.name, "step": self._step, "data": sealed_data, "masked": masked}
        if isinstance(found, Grown):
            key, number = _own_key(context), self._grown
            self._grown += 1
            return {
                "tree": sealed(key, found.tree, _place(context, "tree", number)),
                "leaves": sealed(key, found.leaves, _place(context, "leaves", number)),
            }
        if found.margins is None:
            return {"result": dict(found.result)}
        margins = sealed(_own_key(context), found.margins, _place(context, "margins", self._grown))
        return {"result": dict(found.result), "margins": margins}

    def _opened(self, site: str, answer: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self._channels[site].open(self._step, answer["data"])
        return found | ({"masked": answer["masked"]} if "masked" in answer else {})

    def _answer(self, data: Mapping[str, Any]) -> dict[str, Any]:
        assert self._owner is not None
        (channel,) = self._channels.values()
        answer, for_server = self._owner.answer(data["question"], channel.open(data["step"], data["data"]))
        return {"data": channel.seal(data["step"], answer), **for_server}


def _own_key(context: SiteContext) -> bytes:
    """Return the key that the label owner keeps in its folder, to seal what the server keeps for it."""
    path: Path = context.folder / "vertical.key"
    if not path.exists():
        new = path.with_suffix(".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        new.rename(path)
    return path.read_bytes()


def _place(context: SiteContext, what: str, number: int) -> bytes:
    return f"{what} {number} of {context.job_id}".encode()


def _opened_kept(context: SiteContext, kept: Mapping[str, Any]) -> Kept:
    if not kept:
        return Kept()
    trees, leaves, margins = kept["trees"], kept["leaves"], kept["margins"]
    key, whole = _own_key(context), len(trees) - len(leaves)
    try:
        return Kept(
            [opened(key, trees[at], _place(context, "tree", at)) for at in range(len(trees))],
            [opened(key, each, _place(context, "leaves", at)) for at, each in enumerate(leaves, whole)],
            None if margins is None else opened(key, margins, _place(context, "margins", whole)),
        )
    except InvalidTag:
        raise ModelError(
            f"{context.party}: the trees so far cannot be opened, as they were not sealed with the vertical.key in the"
            " site's folder; start the job anew"
        ) from None
