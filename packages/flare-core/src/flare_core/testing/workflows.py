"""Tests that every workflow must pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from flare_core.errors import SiteError
from flare_core.testing.comparison import comparable
from flare_core.testing.federation import FakeFederation, resumed
from flare_core.workflow import Workflow


class WorkflowConformance(ABC):
    """Tests of a workflow; subclass it as ``TestYours`` and define :meth:`make` and :meth:`federation`.

    A run of each test also fails if the workflow reads a reply that was released, changes a model that it has saved,
    or has a ``state()`` that cannot be stored: see :class:`FakeFederation`.

    Attributes:
        can_spare: how many sites may leave in each round; the run fails with :class:`~flare_core.SiteError` if one more
            does.
    """

    can_spare = 0

    @abstractmethod
    def make(self) -> Workflow:
        """Return a new workflow."""

    @abstractmethod
    def federation(self, **faults: Mapping[str, range]) -> FakeFederation:
        """Return a new federation with sites for the workflow.

        Args:
            faults: further arguments for :class:`FakeFederation`, such as ``leaves``.
        """

    def test_it_runs_to_its_end_and_again_with_the_same_result(self) -> None:
        np.testing.assert_equal(self._run(), self._run())

    def test_it_goes_on_after_each_round_with_the_same_result(self) -> None:
        undisturbed = self._run()
        for round_ in range(undisturbed["completed"]):
            fed = self.federation()
            resumed(self.make, fed, after_round=round_)
            np.testing.assert_equal(_outcome(fed), undisturbed, f"continued after round {round_}")

    def test_it_goes_on_after_each_checkpoint_within_a_round_with_the_same_result(self) -> None:
        undisturbed = self.federation()
        undisturbed.run(self.make())
        for number in range(1, undisturbed.checkpoints + 1):
            fed = self.federation()
            resumed(self.make, fed, after_checkpoint=number)
            np.testing.assert_equal(_outcome(fed), _outcome(undisturbed), f"continued after checkpoint {number}")

    def test_it_goes_on_without_the_sites_that_it_can_spare(self) -> None:
        sites = self.federation().sites
        rounds = self._run()["completed"]
        for fault in ("absent", "leaves", "late"):
            assert self._run(**{fault: dict.fromkeys(sites[: self.can_spare], range(rounds))})["completed"] == rounds

    def test_it_fails_without_one_site_more(self) -> None:
        sites = self.federation().sites[: self.can_spare + 1]
        for fault in ("absent", "leaves"):
            failed = False
            try:
                self._run(**{fault: dict.fromkeys(sites, range(1))})
            except SiteError:
                failed = True
            assert failed, f"the run ended well though more sites than can_spare were lost ({fault})"

    def _run(self, **faults: Mapping[str, range]) -> dict[str, Any]:
        fed = self.federation(**faults)
        fed.run(self.make())
        return _outcome(fed)


def _outcome(fed: FakeFederation) -> dict[str, Any]:
    """Return all that is left of a run."""
    found = ("saved", "metrics", "tables", "files", "warnings", "completed")
    return {name: comparable(getattr(fed, name)) for name in found}
