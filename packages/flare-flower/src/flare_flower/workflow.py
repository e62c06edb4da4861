"""The workflow of a Flower run: Flower's own ServerApp does the work, and this shows it, round by round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flare_core import FlareError, FLModel, SiteError, Workflow
from flare_core.workflow import TrainingFederation
from flare_flower import checks
from flare_flower.server import FlowerServer, traceback_in
from flare_tensor_downloader import read_file


class FlowerWorkflow(Workflow):
    """Starts a Flower app after the sites were checked, and follows it to its end.

    Args:
        imports: the packages that the ServerApp imports, with the places of their imports.
        min_clients: how many sites the run begins with.
    """

    def __init__(self, imports: dict[str, str], min_clients: int) -> None:
        self.imports = imports
        self.min_clients = min_clients

    def run(self, fed: TrainingFederation) -> None:
        sites = self._check(fed)
        FlowerServer.of(fed.job_id).begin(len(sites))
        self._await_round(fed, -1)  # the sites start their nodes, and the ServerApp begins
        news = self._news(fed, -1)
        for round_ in fed.rounds(news["total"] or 1):
            self._await_round(fed, round_)
            news = self._news(fed, round_)
            self._record(fed, news, round_)
            if news["over"]:
                self._keep_model(fed, news)
                break
        else:
            self._await_end(fed, news)

    def _check(self, fed: TrainingFederation) -> list[str]:
        """Look at the server and at each site; return the sites that take part.

        Raises:
            FlareError: something is in the way; a line for each, with the remedy.
        """
        ours = checks.version()
        told = [] if ours else ["the server has no flwr; pip install 'flwr>=1.40' there"]
        if ours and checks.minor(ours) < checks.OLDEST:
            told.append(f"the server has flwr {ours}; Flare runs Flower apps with 1.40 or newer: pip install -U flwr")
        for name, place in checks.missing(self.imports).items():
            told.append(f"the server lacks the package {name!r}, which the app imports ({place}); pip install it there")
        sites = []
        with fed.ask("flower.check", to=fed.sample(self.min_clients)) as conversation:
            for reply in conversation:
                sites.append(reply.site)
                told += checks.problems(reply.site, reply.data, ours or "")
        if told:
            raise FlareError("the app cannot start:\n" + "\n".join(told))
        return sites

    def _await_round(self, fed: TrainingFederation, round_: int) -> None:
        with fed.ask("flower.round", round_, to=fed.sample(self.min_clients)) as conversation:
            for _ in conversation.as_completed():
                pass

    def _news(self, fed: TrainingFederation, round_: int) -> dict[str, Any]:
        """Return what was seen of a round.

        Raises:
            FlareError: the run has failed.
        """
        news: dict[str, Any] = FlowerServer.of(fed.job_id).news(round_)
        if news["error"]:
            raise FlareError("\n".join([news["error"], *_of_clients(news)]))
        return news

    def _record(self, fed: TrainingFederation, news: dict[str, Any], round_: int) -> None:
        """Record the metrics of a round.

        Raises:
            FlareError: no ClientApp has answered with a result.
        """
        for site, values in sorted(news["by_site"].items()):
            fed.record(values, site=site)
        sizes = {"array_bytes": float(sum(news["array_bytes"].values()))} if news["array_bytes"] else {}
        if news["overall"] or sizes:
            fed.record({**news["overall"], **sizes})
        for kind, sent in sorted(news["sent"].items()):
            replies = [(site, error) for site, each, error in news["replies"] if each == kind]
            failed = [(site, error) for site, error in replies if error is not None]
            if len(failed) == len(replies):
                raise _without_results(
                    f"none of {sent} nodes has a result of '{kind}' in round {round_ + 1}", failed, news
                )
            for site, error in failed:
                fed.warn(f"the ClientApp of {site} failed in '{kind}' of round {round_ + 1}: {error}")

    def _await_end(self, fed: TrainingFederation, news: dict[str, Any]) -> None:
        """Wait for a ServerApp that works on after the last round."""
        while not news["over"]:
            self._await_round(fed, 1 << 30)
            news = self._news(fed, 1 << 30)
        self._keep_model(fed, news)

    def _keep_model(self, fed: TrainingFederation, news: dict[str, Any]) -> None:
        if news["nodes"]:
            fed.show(
                "Flower nodes", ["site", "node"], [(site, str(node)) for site, node in sorted(news["nodes"].items())]
            )
        if news["model"]:
            fed.save(FLModel(params=read_file(Path(news["model"]))))


def _without_results(text: str, failed: list[tuple[str, str]], news: dict[str, Any]) -> FlareError:
    if not failed:
        return FlareError(f"{text}; their sites were away, or their ClientApps took longer than the ServerApp waits")
    site, error = failed[0]
    details = next((tail for at, _, tail in reversed(news["troubles"]) if at == site), "")
    return SiteError(f"{text}; {site}: {error}", site=site, details=traceback_in(details))


def _of_clients(news: dict[str, Any]) -> list[str]:
    return [f"{site}: {what}\n{traceback_in(tail)}" for site, what, tail in news["troubles"][-2:]]
