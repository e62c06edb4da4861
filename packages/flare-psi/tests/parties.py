"""Parties of an intersection in one process: real executors, whose requests to each other are calls."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from flare_core import PartyError
from flare_core.testing import FakeFederation
from flare_fobs import dumps, loads
from flare_psi import PSI
from flare_psi.site import Outbox, PSIExecutor


class Given(PSI):
    """The ids that it was made with."""

    def __init__(self, items):
        self.items = items

    def load_items(self):
        return list(self.items)


class Endpoint:
    """The endpoint of one party; requests are answered at once."""

    def __init__(self, party, network):
        self.party, self.network = party, network
        self.handlers = {}

    @property
    def parties(self):
        return ("server", *self.network)

    def handle(self, topic, handler):
        self.handlers[topic] = handler

    def request(self, to, topic, data=None, *, timeout_s=None):
        return self.network[to].ask(self.party, topic, data)


@dataclass
class Party:
    """One site: its context and its executor.

    Attributes:
        is_lost: requests to it fail.
        answers: all that it has handed to other sites.
    """

    party: str
    folder: Path
    network: dict = field(repr=False)
    make: object = field(repr=False)
    config: dict = field(default_factory=dict)
    job_id: str = "job"

    def __post_init__(self):
        self.cancelled = threading.Event()
        self.logged, self.warnings, self.answers = {}, [], []
        self.is_lost = False
        self.start()

    def start(self):
        """Start it, again if it was killed."""
        self.endpoint = Endpoint(self.party, self.network)
        Outbox().start(self)
        self.executor = self.make()

    def ask(self, sender, topic, data):
        if self.is_lost:
            raise PartyError(f"{self.party} is lost", party=self.party)
        answer = self.endpoint.handlers[topic](sender, data)
        self.answers.append(answer)
        return answer

    def log(self, key, value, **more):
        self.logged[key] = value

    def warn(self, text):
        self.warnings.append(text)

    def __call__(self, task):
        return self.executor.execute(task, self)


def parties(folder, items, *, per_site=None, config=None, **arguments):
    """Return sites by name, given their ids."""
    network = {}
    for site, own in items.items():
        (folder / site).mkdir(parents=True, exist_ok=True)

        def make(site=site, own=own):
            return PSIExecutor(Given(own), **arguments | (per_site or {}).get(site, {}))

        network[site] = Party(site, folder / site, network, make, (config or {}).get(site, {}))
    return network


def federation(network, sent=None, **faults):
    """Return a federation of sites; ``sent`` collects what comes to and from the server, as bytes."""

    def travel(data):
        payload = dumps(data)
        if sent is not None:
            sent.append(bytes(payload))
        return loads(payload)

    return FakeFederation(dict(network), travel=travel, **faults)


def common(network):
    """Return the lines of each site's result."""
    return {site: result_of(each) for site, each in network.items()}


def result_of(party):
    """Return the lines of one site's result, without the header."""
    return (party.folder / "intersection.csv").read_text().splitlines()[1:]
