"""Sums over the sites of a federation: the only way in which the server learns of their rows.

Tasks and their data:

    xgb.describe  {"start"}                           -> {"schema"}
    xgb.key       {}                                  -> {"key"}: the site's public key, of a new pair
    xgb.keys      {"keys": {site: key}, "session"}    -> {}
    xgb.do        {"actions": [[name, arguments], …], "epoch"}
                                                      -> {"numbers": {name: array}} or {"is_behind": True}
    xgb.restore   {"actions": [[name, arguments], …], "start"}
                                                      -> {}

The arrays of numbers are int64, or uint64 under masks. ``start`` is {"learning", "rank", "epoch"}: with it a site
forgets all but its rows. A site that has another epoch, or is not where an action belongs, is behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flare_core import Federation, Sample, SiteError
from flare_masking import add_masked

Actions = Sequence[tuple[str, Mapping[str, Any]]]
"""Names of actions with their arguments."""

_MOST_RETURNS = 5  # of sites, while one question is asked


class Lost(Exception):
    """Sites left, or were late, and the others are enough.

    Args:
        sites: their names.
    """

    def __init__(self, sites: Sequence[str]) -> None:
        super().__init__(", ".join(sites))
        self.sites = tuple(sites)


class SiteSums:
    """Adds up what the sites of a run answer.

    Args:
        fed: the federation.
        learning: the parameters by XGBoost's names.
        ranks: the place of each site among all.
        is_masked: the server learns totals alone.
        restore: returns the actions that bring a site to the point where the run is.
        epoch: the number of this beginning of the server's process; another one each time.
    Attributes:
        sites: those that are asked, with the quorum.
    """

    def __init__(
        self,
        fed: Federation,
        learning: Mapping[str, Any],
        ranks: Mapping[str, int],
        *,
        is_masked: bool,
        restore: Callable[[str], Actions],
        epoch: int,
    ) -> None:
        self._fed = fed
        self._learning = dict(learning)
        self._ranks = dict(ranks)
        self._is_masked = is_masked
        self._restore = restore
        self._epoch = epoch
        self._has_keys = False
        self._pending: list[tuple[str, Mapping[str, Any]]] = []
        self.sites = Sample((), 0)

    def choose(self, sites: Sample) -> None:
        """Ask these sites from now on."""
        if tuple(sites) != tuple(self.sites):
            self._has_keys = False
        self.sites = sites

    def leave_out(self, lost: Lost) -> None:
        """Ask the others from now on, and warn."""
        self._fed.warn(f"{', '.join(lost.sites)} left or was late; the tree begins again without it")
        self.choose(Sample((site for site in self.sites if site not in lost.sites), self.sites.quorum))

    def describe(self) -> dict[str, Any]:
        """Return the description of each site's columns.

        Raises:
            Lost: a site did not answer.
        """
        data = {site: {"start": self._start(site)} for site in self.sites}
        return {site: reply["schema"] for site, reply in self._scatter("xgb.describe", data).items()}

    def later(self, actions: Actions) -> None:
        """Put off actions without numbers: all sites do them before those of the next total."""
        self._pending += actions

    def total(self, actions: Actions) -> dict[str, NDArray[np.int64]]:
        """Return the sums of the numbers, by name, that all sites answer when they do some actions.

        A site that is not at the point where the actions belong is brought there first. It must be possible to do the
        actions twice.

        Raises:
            Lost: a site did not answer.
            SiteError: an answer is unusable, or a site was started again too often; names the site.
        """
        actions = [*self._pending, *actions]
        total: dict[str, NDArray[np.int64]] = {}
        asked: Sequence[str] = self.sites
        for _ in range(_MOST_RETURNS):
            if self._is_masked and not self._has_keys:
                self._agree_on_keys()
            behind = self._add(actions, asked, total)
            if not behind:
                self._pending = []
                return total
            self.restore(behind)
            asked = behind
            if self._is_masked:  # the sites must mask with keys of all
                total, asked = {}, self.sites
        raise SiteError(f"{behind[0]} was started again {_MOST_RETURNS} times while one task was done", site=behind[0])

    def restore(self, sites: Sequence[str] | None = None) -> None:
        """Bring some sites, or all, to the point where the run is.

        Raises:
            Lost: a site did not answer.
        """
        self._has_keys = False  # a site forgets them
        tasks = {
            site: {"actions": [list(each) for each in self._restore(site)], "start": self._start(site)}
            for site in sites or self.sites
        }
        self._scatter("xgb.restore", tasks)

    def _add(self, actions: Actions, asked: Sequence[str], total: dict[str, NDArray[np.int64]]) -> list[str]:
        """Ask some sites, and add what they answer to the total; return those that are behind."""
        behind, answered = [], set()
        task = {"actions": [list(each) for each in actions], "epoch": self._epoch}
        quorum = self._quorum(asked)
        with self._fed.ask("xgb.do", task, to=Sample(asked, quorum)) as conversation:
            for reply in conversation:
                answered.add(reply.site)
                data = reply.data
                if data.get("is_behind"):
                    behind.append(reply.site)
                    continue
                for name, numbers in data["numbers"].items():
                    _check(reply.site, name, numbers, total, is_masked=self._is_masked)
                    if name in total:
                        add_masked(total[name], numbers)
                    else:
                        total[name] = numbers.view(np.int64)
        self._note_lost(asked, answered)
        return behind

    def _start(self, site: str) -> dict[str, Any]:
        return {"learning": self._learning, "rank": self._ranks[site], "epoch": self._epoch}

    def _agree_on_keys(self) -> None:
        """Let the sites agree on masks of this set of sites, which no earlier set had."""
        keys = {site: each["key"] for site, each in self._scatter("xgb.key", {site: {} for site in self.sites}).items()}
        agreed = {"keys": keys, "session": self._fed.job_id.encode()}
        self._scatter("xgb.keys", {site: agreed for site in self.sites})
        self._has_keys = True

    def _scatter(self, task: str, data: Mapping[str, Any]) -> dict[str, Any]:
        with self._fed.scatter(task, data, quorum=self._quorum(data)) as conversation:
            replies = {reply.site: reply.data for reply in conversation}
        self._note_lost(data, replies)
        return replies

    def _quorum(self, asked: Sequence[str] | Mapping[str, Any]) -> int:
        """Return how many of some sites must answer for the quorum of all."""
        return max(0, self.sites.quorum - (len(self.sites) - len(asked)))

    def _note_lost(self, asked: Sequence[str] | Mapping[str, Any], answered: set[str] | Mapping[str, Any]) -> None:
        if lost := [site for site in asked if site not in answered]:
            self._has_keys = False
            raise Lost(lost)


def _check(site: str, name: str, numbers: Any, total: Mapping[str, NDArray[Any]], *, is_masked: bool) -> None:
    wanted = total[name].shape if name in total else numbers.shape
    if numbers.dtype != (np.uint64 if is_masked else np.int64) or numbers.shape != wanted:
        raise SiteError(
            f"{site}: its {name} are {numbers.dtype} of shape {numbers.shape}, but those of other sites have shape"
            f" {wanted}; all sites need the same version of flare-xgb",
            site=site,
        )
