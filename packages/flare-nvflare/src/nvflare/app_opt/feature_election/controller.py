"""FeatureElectionController: elects features by the sites' votes, then trains a model on them.

Source: C. Christofilogiannis et al., FLASH: a framework for federated learning with attribute selection and
hyperparameter optimization, FLTA 2025. Features that all sites select are elected; of those that some select, the share
``freedom_degree`` with the highest scores.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvflare.apis.controller_spec import ClientTask
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller, Task
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.app_constant import AppConstants

_LEAST, _MOST, _FLAT = 0.05, 1.0, 1e-4


class FeatureElectionController(Controller):
    """Elects features, tells the sites of them, and trains in rounds.

    Args:
        freedom_degree: the share of the features that only some sites select; 0 for none of them, 1 for all.
        aggregation_mode: ``weighted`` for votes by the number of samples, or ``uniform``.
        min_clients: how many sites must answer.
        num_rounds: how many rounds to train.
        task_name: the task of the sites' executors.
        train_timeout: how many seconds a round may take; 0 for no limit.
        auto_tune: find a better ``freedom_degree`` first, by trying values nearby.
        tuning_rounds: how many values to try; at least 2.
        wait_time_after_min_received: how many seconds to wait for more sites.

    Raises:
        ValueError: there is no such mode.
    """

    def __init__(
        self,
        freedom_degree: float = 0.5,
        aggregation_mode: str = "weighted",
        min_clients: int = 2,
        num_rounds: int = 5,
        task_name: str = "feature_election",
        train_timeout: int = 300,
        auto_tune: bool = False,
        tuning_rounds: int = 0,
        wait_time_after_min_received: int = 10,
    ) -> None:
        super().__init__()
        if aggregation_mode not in ("weighted", "uniform"):
            raise ValueError(f"aggregation_mode is {aggregation_mode!r}; give 'weighted' or 'uniform'")
        if auto_tune and tuning_rounds < 2:
            self.logger.warning("auto_tune needs at least two tuning_rounds; freedom_degree stays as it is")
        self.freedom_degree = freedom_degree
        self.aggregation_mode = aggregation_mode
        self.min_clients = min_clients
        self.fl_rounds = num_rounds
        self.custom_task_name = task_name
        self.train_timeout = train_timeout
        self.auto_tune = auto_tune
        self.tuning_rounds = tuning_rounds if auto_tune and tuning_rounds > 1 else 0
        self.wait_time_after_min_received = wait_time_after_min_received
        self.global_feature_mask: NDArray[Any] | None = None
        self.global_weights: dict[str, NDArray[Any]] | None = None
        self.cached_client_selections: dict[str, dict[str, Any]] = {}
        self.tuning_history: list[tuple[float, float]] = []
        self.search_step = 0.1
        self.current_direction = 1
        self.n_features: int | None = None
        self._results: dict[str, Shareable] = {}

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Do nothing."""

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Write what was elected to ``feature_election_results.json`` in the run's folder."""
        mask = self.global_feature_mask
        found = {
            "global_mask": None if mask is None else mask.tolist(),
            "freedom_degree": float(self.freedom_degree),
            "num_features_selected": 0 if mask is None else int(mask.sum()),
        }
        folder = Path(fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id()))
        (folder / "feature_election_results.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Elect, tune and train.

        Raises:
            RuntimeError: no site has selected a feature.
        """
        votes = self._ask(fl_ctx, abort_signal, "feature_selection")
        self.cached_client_selections = self._votes(votes)
        if not self.cached_client_selections:
            raise RuntimeError("no site has selected a feature; select less strictly, as with a smaller 'alpha'")
        self._tune(fl_ctx, abort_signal)
        self.global_feature_mask = mask = self.aggregate_selections(self.cached_client_selections)
        self.log_info(
            fl_ctx, f"{mask.sum()} of {len(mask)} features are elected, freedom degree {self.freedom_degree:.4g}"
        )
        self._ask(fl_ctx, abort_signal, "apply_mask", global_feature_mask=mask.tolist())
        for number in range(self.fl_rounds):
            if abort_signal.triggered:
                return
            params = self.global_weights
            asked = {} if params is None else {"params": {name: value.tolist() for name, value in params.items()}}
            results = self._ask(fl_ctx, abort_signal, "train", self.train_timeout, number, **asked)
            self.global_weights = self._mean(results)

    def advance_tuning(self, score: float, first_step: bool = False) -> None:
        """Note the score of the freedom degree, and choose the next one to try.

        Args:
            score: the score.
            first_step: nothing was tried before.
        """
        self.tuning_history.append((self.freedom_degree, score))
        self.freedom_degree = self._next(first_step)

    def aggregate_selections(self, client_selections: Mapping[str, Mapping[str, Any]]) -> NDArray[Any]:
        """Return which features are elected.

        Args:
            client_selections: of each site, ``selected_features``, ``feature_scores`` and ``num_samples``.

        Raises:
            ValueError: there are no votes, and the number of features is not known.
        """
        votes = list(client_selections.values())
        if not votes:
            if self.n_features is None:
                raise ValueError("there are no votes, so the number of features is not known")
            return np.zeros(self.n_features, dtype=bool)
        masks = np.array([vote["selected_features"] for vote in votes], dtype=bool)
        by_all, by_some = np.asarray(masks.all(axis=0)), np.asarray(masks.any(axis=0))
        if self.freedom_degree <= 0.01:
            return by_all
        if self.freedom_degree >= 0.99:
            return by_some
        open_ = np.flatnonzero(by_some & ~by_all)
        samples = np.array([vote["num_samples"] for vote in votes], dtype=float)
        is_uniform = self.aggregation_mode == "uniform" or samples.sum() <= 0
        weights = np.full(len(votes), 1 / len(votes)) if is_uniform else samples / samples.sum()
        scores = sum(
            weight * _relative(np.asarray(vote["feature_scores"], dtype=float), mask)
            for weight, vote, mask in zip(weights, votes, masks, strict=True)
        )
        count = int(np.ceil(len(open_) * self.freedom_degree))
        elected = by_all.copy()
        if count:
            elected[open_[np.argsort(np.asarray(scores)[open_], kind="stable")[-count:]]] = True
        return elected

    def _ask(
        self,
        fl_ctx: FLContext,
        abort_signal: Signal,
        request: str,
        timeout: int = 0,
        round_: int | None = None,
        **content: Any,
    ) -> dict[str, Shareable]:
        self._results = {}
        data = Shareable()
        if round_ is not None:
            data.set_header(AppConstants.CURRENT_ROUND, round_)
            data.set_header(AppConstants.NUM_ROUNDS, self.fl_rounds)
        data.update(request_type=request, **content)
        task = Task(self.custom_task_name, data, timeout=timeout, result_received_cb=self._receive)
        self.broadcast_and_wait(
            task, fl_ctx, None, self.min_clients, self.wait_time_after_min_received, abort_signal=abort_signal
        )
        if len(self._results) < self.min_clients and not abort_signal.triggered:
            raise RuntimeError(
                f"{len(self._results)} sites have answered {request!r}, {self.min_clients} must; the federation is too"
                " small, or they need more time"
            )
        return self._results

    def _receive(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        if client_task.result is not None and client_task.result.get_return_code() == ReturnCode.OK:
            self._results[client_task.client.name] = client_task.result
        elif client_task.result is not None:
            code = client_task.result.get_return_code()
            raise RuntimeError(f"{client_task.client.name} has answered with {code}")

    def _votes(self, results: Mapping[str, Shareable]) -> dict[str, dict[str, Any]]:
        votes: dict[str, dict[str, Any]] = {}
        for name, result in results.items():
            mask = np.asarray(result["selected_features"], dtype=bool)
            self.n_features = len(mask) if self.n_features is None else self.n_features
            if len(mask) != self.n_features:
                raise ValueError(f"{name} has {len(mask)} features, another site {self.n_features}")
            if not mask.any():
                self.logger.warning(f"{name} has selected no feature, so its vote does not count")
                continue
            votes[name] = {
                "selected_features": mask,
                "feature_scores": np.asarray(result["feature_scores"], dtype=float),
                "num_samples": result.get("num_samples", 1),
            }
        return votes

    def _tune(self, fl_ctx: FLContext, abort_signal: Signal) -> None:
        for number in range(self.tuning_rounds):
            mask = self.aggregate_selections(self.cached_client_selections)
            results = self._ask(fl_ctx, abort_signal, "tuning_eval", tuning_mask=mask.tolist())
            if abort_signal.triggered:
                return
            counts = [
                result.get("num_samples", 1) if self.aggregation_mode == "weighted" else 1
                for result in results.values()
            ]
            score = float(np.average([result["tuning_score"] for result in results.values()], weights=counts))
            self.log_info(fl_ctx, f"freedom degree {self.freedom_degree:.4g}: {score:.4g}")
            self.tuning_history.append((self.freedom_degree, score))
            latest = [each for _, each in self.tuning_history[-3:]]
            if len(latest) == 3 and max(latest) - min(latest) < _FLAT:
                break
            if number < self.tuning_rounds - 1:
                self.freedom_degree = self._next(number == 0)
        if self.tuning_history:
            self.freedom_degree = max(self.tuning_history, key=lambda each: each[1])[0]

    def _next(self, is_first: bool) -> float:
        """Return the next freedom degree to try: on while scores rise, else back by smaller steps."""
        if is_first:
            is_near_most = self.freedom_degree + self.search_step > _MOST
            is_near_least = self.freedom_degree - self.search_step < _LEAST
            if is_near_most != is_near_least:
                self.current_direction = -1 if is_near_most else 1
        elif len(self.tuning_history) < 2:
            return self.freedom_degree
        elif self.tuning_history[-1][1] <= self.tuning_history[-2][1]:
            self.current_direction *= -1
            self.search_step = max(self.search_step / 2, 1e-3)
        start = self.freedom_degree if is_first else self.tuning_history[-1][0]
        return float(np.clip(start + self.current_direction * self.search_step, _LEAST, _MOST))

    def _mean(self, results: Mapping[str, Shareable]) -> dict[str, NDArray[Any]] | None:
        found = [result for result in results.values() if result.get("params") is not None]
        if not found:
            return self.global_weights
        weights = [result.get("num_samples", 1) for result in found]
        values = [{name: np.asarray(value) for name, value in result["params"].items()} for result in found]
        shapes = [{name: value.shape for name, value in each.items()} for each in values]
        if any(each != shapes[0] for each in shapes):
            raise ValueError(f"the sites' models differ: {shapes}; do all sites have the same classes?")
        return {name: np.average([each[name] for each in values], axis=0, weights=weights) for name in values[0]}


def _relative(scores: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any]:
    """Return the scores of selected features between 0 and 1, and 0 for others."""
    if not mask.any():
        return np.zeros(len(mask))
    low, high = scores[mask].min(), scores[mask].max()
    return np.where(mask, (scores - low) / (high - low) if high > low else 0.5, 0.0)
