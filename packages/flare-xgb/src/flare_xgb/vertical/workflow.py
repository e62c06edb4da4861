"""The workflow of vertical training: the sites hold different columns of the same rows.

The site with the labels leads. The server passes its questions on to the other sites, and their answers back, without
reading them; in masked training it also adds up numbers that it cannot read. It keeps trees and margins, sealed by the
label owner, and the metrics.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from flare_core import Federation, SiteError, Workflow
from flare_xgb.data import DataError
from flare_xgb.engine.threads import Threads
from flare_xgb.engine.train import EarlyStopping
from flare_xgb.horizontal.learning import Learning
from flare_xgb.vertical.layout import join
from flare_xgb.vertical.masked import add_groups
from flare_xgb.vertical.sealing import Bytes

_SESSION_BYTES = 16
_MOST_RETURNS = 20  # of sites, while one order is done
_MOST_FEATURES = 20  # that are shown


class _Behind(Exception):
    """A site was started again, so all begin anew from the trees so far."""


class Vertical(Workflow):
    """Train XGBoost's model of the columns of all sites.

    All sites must take part from the beginning to the end. If one is started again, or the server is, the tree that was
    growing begins again. The trees are those of training on the joined table.

    The metrics of each round are recorded as ``train-<metric>`` and ``validation-<metric>``.

    Args:
        label_owner: the site with the labels.
        xgb_params: XGBoost's parameters, by its names.
        num_rounds: how many rounds to train.
        early_stopping_rounds: end after so many rounds without improvement of the last metric.
        model_file_name: the name of the file of the model, if it is joined.
    """

    def __init__(
        self,
        label_owner: str,
        xgb_params: Mapping[str, Any],
        *,
        num_rounds: int,
        early_stopping_rounds: int | None = None,
        model_file_name: str = "model.json",
    ) -> None:
        self.label_owner = label_owner
        self.xgb_params = dict(xgb_params)
        self.num_rounds = num_rounds
        self.early_stopping_rounds = early_stopping_rounds
        self.model_file_name = model_file_name
        self._trees: list[Bytes] = []
        self._leaves: list[Bytes] = []  # of the trees of a round that is not completed
        self._margins: Bytes | None = None
        self._stopping: EarlyStopping | None = None
        self._is_over = False
        self._described: dict[str, Any] = {}
        self._session: bytes | None = None
        self._threads = Threads()

    def run(self, fed: Federation) -> None:
        for round_ in fed.rounds(self.num_rounds):
            if self._is_over:
                break
            fed.sample(len(fed.sites))
            metrics = self._do(fed, {"name": "round", "number": round_})["metrics"]
            fed.record({name: value for name, value in metrics.items() if math.isfinite(value)})
            self._is_over = self._judge(metrics)
            if self._is_over:
                break
        self._conclude(fed, self._do(fed, {"name": "finish", "attributes": self._attributes()}))

    def state(self) -> dict[str, Any]:
        return {
            "trees": _numbered(self._trees),
            "leaves": _numbered(self._leaves),
            "margins": {} if self._margins is None else {"sealed": self._margins},
            "stopping": None if self._stopping is None else asdict(self._stopping),
            "is_over": self._is_over,
            "described": self._described,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        if state:
            self._trees, self._leaves = (
                [state[name][str(at)] for at in range(len(state[name]))] for name in ("trees", "leaves")
            )
            self._margins = state["margins"].get("sealed")
            self._stopping = None if state["stopping"] is None else EarlyStopping(**state["stopping"])
            self._is_over, self._described = state["is_over"], state["described"]

    def _do(self, fed: Federation, order: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give the label owner an order; return its result."""
        for _ in range(_MOST_RETURNS):
            try:
                if self._session is None:
                    self._begin(fed)
                return self._lead(fed, {"order": order})
            except _Behind:
                self._session = None
        raise SiteError(f"sites were started again {_MOST_RETURNS} times in one round", site=self.label_owner)

    def _begin(self, fed: Federation) -> None:
        """Begin anew at all sites, from the trees so far."""
        with fed.scatter("xgb.describe", {site: {"rank": rank} for rank, site in enumerate(fed.sites)}) as asked:
            replies = {reply.site: reply.data for reply in asked}
        described = {site: replies[site]["description"] for site in fed.sites}
        for site, before in self._described.items():
            if described.get(site) != before:
                raise DataError(f"{site}: its rows or columns are not those that the run began with; start a new job")
        self._layout, self._described = join(described, self.label_owner), described
        self._learning = Learning(self.xgb_params, self._layout.names or self._layout.width)
        session = secrets.token_bytes(_SESSION_BYTES)
        begin = {
            "session": session,
            "layout": self._layout.to_dict(),
            "keys": {site: reply["key"] for site, reply in replies.items()},
        }
        tasks = {site: dict(begin) for site in fed.sites}
        tasks[self.label_owner]["kept"] = {"trees": self._trees, "leaves": self._leaves, "margins": self._margins}
        with fed.scatter("xgb.begin", tasks) as asked:
            if any(reply.data.get("is_behind") for reply in asked):
                raise _Behind
        self._number = 0
        self._session = session
        self._lead(fed, {})

    def _lead(self, fed: Federation, sent: Mapping[str, Any]) -> Mapping[str, Any]:
        """Pass questions and answers on until the label owner has a result."""
        while True:
            self._number += 1
            task = {"session": self._session, "number": self._number, **sent}
            found = self._ask(fed, "xgb.lead", {self.label_owner: task})[self.label_owner]
            sent = {}
            if "result" in found:
                if "margins" in found:
                    self._margins, self._leaves = found["margins"], []
                result: Mapping[str, Any] = found["result"]
                return result
            if "tree" in found:
                self._trees.append(found["tree"])
                self._leaves.append(found["leaves"])
                fed.checkpoint()
            else:
                sent = {"answers": self._answers(fed, found)}

    def _answers(self, fed: Federation, found: Mapping[str, Any]) -> dict[str, Any]:
        common = {"session": self._session, "question": found["question"], "step": found["step"]}
        replies = self._ask(fed, "xgb.answer", {site: {**common, "data": data} for site, data in found["data"].items()})
        answers = {}
        for site, reply in replies.items():
            answers[site] = {"data": reply["data"]}
            if "groups" in reply:
                try:
                    answers[site]["masked"] = add_groups(
                        found["masked"][site], reply["groups"], reply["sizes"], reply["seed"], self._threads
                    )
                except ValueError as error:
                    raise SiteError(f"{site}: {error}", site=site) from error
        return answers

    def _ask(self, fed: Federation, task: str, data: Mapping[str, Any]) -> dict[str, Any]:
        if not data:
            return {}
        with fed.scatter(task, data) as asked:
            replies = {reply.site: reply.data for reply in asked}
        if any(reply.get("is_behind") for reply in replies.values()):
            raise _Behind
        return replies

    def _judge(self, metrics: Mapping[str, float]) -> bool:
        """Return whether training ends early."""
        if self.early_stopping_rounds is None or not self._learning.metrics:
            return False
        last = self._learning.metrics[-1]
        if self._stopping is None:
            self._stopping = EarlyStopping(self.early_stopping_rounds, last.maximize)
        return self._stopping.stops(metrics.get(f"validation-{last.name}", metrics[f"train-{last.name}"]))

    def _attributes(self) -> dict[str, str]:
        if self._stopping is None or self._stopping.best_iteration < 0:
            return {}
        best = self._stopping
        return {"best_iteration": str(best.best_iteration), "best_score": repr(best.best_score)}

    def _conclude(self, fed: Federation, result: Mapping[str, Any]) -> None:
        if "model" not in result:
            return  # each site has kept its part
        fed.write(self.model_file_name, result["model"])
        gain, weight = result["importance"]["total_gain"], result["importance"]["weight"]
        rows = sorted(gain.items(), key=lambda each: -each[1])[:_MOST_FEATURES]
        fed.show(
            "Features by the improvement of their splits",
            ["feature", "gain", "splits"],
            [(name, f"{value:.6g}", f"{weight[name]:.0f}") for name, value in rows],
        )


def _numbered(messages: Sequence[Bytes]) -> dict[str, Bytes]:
    return {str(at): message for at, message in enumerate(messages)}
