"""A workflow with its own tasks, and the executors that do them, as a user writes them."""

from __future__ import annotations

import numpy as np

from flare_core import Executor, Federation, SiteContext, Task, Workflow


class Survey(Workflow):
    """Scatters large parts while it asks another question, in each round."""

    def __init__(self, rounds: int = 2, size: int = 6_250_000) -> None:
        self.rounds = rounds
        self.size = size
        self.totals: list[float] = []

    def run(self, fed: Federation) -> None:
        for round_ in fed.rounds(self.rounds):
            parts = {site: np.full(self.size, float(index + round_)) for index, site in enumerate(fed.sites)}
            with fed.scatter("double", parts) as doubled, fed.ask("name", {"round": round_}) as names:
                assert {reply.data["name"] for reply in names.as_completed()} == set(fed.sites)
                self.totals.append(float(sum(reply.data["values"].sum() for reply in doubled)))
            fed.record({"total": self.totals[-1]})
            fed.write("totals.txt", f"{self.totals}\n")

    def state(self) -> dict[str, object]:
        return {"totals": self.totals}

    def restore(self, state: dict[str, object]) -> None:
        self.totals = list(state["totals"])


class Answers(Executor):
    def execute(self, task: Task, context: SiteContext) -> object:
        if task.name == "name":
            return {"name": context.party, "stopped": context.cancelled.is_set()}
        with (context.folder / "rounds.txt").open("a") as file:
            file.write(f"{task.round}\n")
        return {"values": task.data * 2}
