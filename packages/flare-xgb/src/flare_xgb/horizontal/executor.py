"""The executor of a site: reads its rows, does the server's actions with them, and masks what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flare_core import Executor, SiteContext, Task
from flare_masking import MaskedParty
from flare_xgb.data import DataError, Schema, Table, load
from flare_xgb.data.sameness import check_same
from flare_xgb.engine.threads import Threads
from flare_xgb.horizontal.learning import Learning
from flare_xgb.horizontal.site import Behind, Numbers, SiteRows

_BEHIND = {"is_behind": True}


class HorizontalExecutor(Executor):
    """Does the tasks of :mod:`flare_xgb.horizontal.sums` with the rows of a site.

    Args:
        data_loader: reads the rows.
        secure: ``masked`` sends numbers under masks only, and no number of rows.
    """

    def __init__(self, data_loader: Any, secure: str | None = None) -> None:
        self.data_loader = data_loader
        self.secure = secure
        self._tables: tuple[Table, Table | None] | None = None
        self._rows: SiteRows | None = None
        self._epoch: int | None = None
        self._party: MaskedParty | None = None
        self._has_agreed = False

    def execute(self, task: Task, context: SiteContext) -> Any:
        match task.name:
            case "xgb.describe":
                self._start(context, **task.data["start"])
                return {"schema": self._schema().to_dict()}
            case "xgb.key":
                self._party, self._has_agreed = MaskedParty(context.party), False
                return {"key": self._party.public_key}
            case "xgb.keys":
                return self._agree(**task.data)
            case "xgb.restore":
                rows = self._start(context, **task.data["start"])
                for name, arguments in task.data["actions"]:
                    if context.cancelled.is_set():
                        break
                    rows.do(name, arguments)
                return {}
        return self._do(context, **task.data)

    def _start(self, context: SiteContext, learning: Mapping[str, Any], rank: int, epoch: int) -> SiteRows:
        """Forget all but the rows, which are read when they are first needed."""
        site = context.party
        if self._tables is None:
            self._tables = load(self.data_loader, site, rank)
            check_same(self._tables[0], context.folder, site)
        trained = Learning(learning, self._tables[0].names or self._tables[0].num_features)
        if self._tables[0].qid is None and trained.objective.together == "groups":
            raise DataError(f"{site}: {trained.params.objective} needs the column qid, and the data have none")
        self._rows = SiteRows(*self._tables, trained, Threads(trained.params.nthread), site)
        self._epoch, self._party, self._has_agreed = epoch, None, False
        return self._rows

    def _schema(self) -> Schema:
        assert self._tables is not None
        schema = Schema.of(*self._tables)
        return replace(schema, rows=min(schema.rows, 1)) if self.secure == "masked" else schema

    def _agree(self, keys: Mapping[str, bytes], session: bytes) -> dict[str, Any]:
        if self._party is not None and keys.get(self._party.name) == self._party.public_key:
            self._party.agree(keys, session)
            self._has_agreed = True
        return {}  # if the site was started again after it gave its key, the next task finds it behind

    def _do(self, context: SiteContext, actions: list[Any], epoch: int) -> dict[str, Any]:
        rows = self._rows
        if rows is None or self._epoch != epoch or (self.secure == "masked" and not self._has_agreed):
            return _BEHIND
        numbers: Numbers = {}
        try:
            for name, arguments in actions:
                if context.cancelled.is_set():
                    break
                numbers |= rows.do(name, arguments)
        except Behind:
            return _BEHIND
        return {"numbers": {name: self._hidden(each) for name, each in numbers.items()}}

    def _hidden(self, numbers: NDArray[np.int64]) -> NDArray[Any]:
        if self.secure != "masked":
            return numbers
        assert self._party is not None
        return self._party.mask(numbers)
