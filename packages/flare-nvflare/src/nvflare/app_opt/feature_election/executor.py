"""FeatureElectionExecutor: selects features of a site's data, and trains on those that are elected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import mutual_info_classif
from sklearn.linear_model import ElasticNet, Lasso, LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.preprocessing import StandardScaler

from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal

_DEFAULTS: dict[str, dict[str, Any]] = {
    "lasso": {"alpha": 0.01},
    "elastic_net": {"alpha": 0.01, "l1_ratio": 0.5},
    "mutual_info": {},
    "random_forest": {"n_estimators": 100, "random_state": 42},
}
_NONE = 1e-6


class FeatureElectionExecutor(Executor):
    """Answers the tasks of :class:`FeatureElectionController`; a subclass or the job calls :meth:`set_data`.

    Args:
        fs_method: ``lasso``, ``elastic_net``, ``mutual_info`` or ``random_forest``.
        fs_params: settings of that method of scikit-learn; ``k`` is how many features the last two select.
        eval_metric: ``f1`` or ``accuracy``.
        task_name: the task's name.

    Raises:
        ValueError: there is no such method or metric.
    """

    def __init__(
        self,
        fs_method: str = "lasso",
        fs_params: Mapping[str, Any] | None = None,
        eval_metric: str = "f1",
        task_name: str = "feature_election",
    ) -> None:
        super().__init__()
        self.fs_method = fs_method.lower()
        if self.fs_method not in _DEFAULTS:
            raise ValueError(f"fs_method is {fs_method!r}; give one of {', '.join(_DEFAULTS)}")
        if eval_metric not in ("f1", "accuracy"):
            raise ValueError(f"eval_metric is {eval_metric!r}; give 'f1' or 'accuracy'")
        self.fs_params = {**_DEFAULTS[self.fs_method], **(fs_params or {})}
        self.eval_metric = eval_metric
        self.task_name = task_name
        self.X_train: Any = None
        self.y_train: Any = None
        self.X_val: Any = None
        self.y_val: Any = None
        self.feature_names: Sequence[str] | None = None
        self.scaler: Any = None
        self.global_feature_mask: NDArray[Any] | None = None
        self.model = LogisticRegression(max_iter=1000, warm_start=True, random_state=42)

    def set_data(
        self, X_train: Any, y_train: Any, X_val: Any = None, y_val: Any = None, feature_names: Any = None
    ) -> None:
        """Set the site's data, as arrays or pandas objects.

        Args:
            X_train: a row for each sample.
            y_train: the classes.
            X_val, y_val: data for scores; None for those of training.
            feature_names: the names of the features.

        Raises:
            ValueError: the numbers of features differ.
        """
        self.X_train, self.y_train = np.asarray(X_train), np.asarray(y_train)
        self.X_val = self.X_train if X_val is None else np.asarray(X_val)
        self.y_val = self.y_train if X_val is None else np.asarray(y_val)
        count = self.X_train.shape[1]
        if self.X_val.shape[1] != count:
            raise ValueError(f"X_val has {self.X_val.shape[1]} features, X_train {count}")
        if feature_names is not None and len(feature_names) != count:
            raise ValueError(f"there are {len(feature_names)} feature_names, and X_train has {count} features")
        self.feature_names = feature_names
        self.scaler = None

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Select features, evaluate a selection, apply one, or train.

        Raises:
            RuntimeError: the site has no data.
            ValueError: the request is not one of them.
        """
        if task_name != self.task_name:
            return make_reply(ReturnCode.TASK_UNKNOWN)
        if self.X_train is None:
            raise RuntimeError(f"{type(self).__name__} has no data; call set_data first")
        request = shareable.get("request_type")
        reply = make_reply(ReturnCode.OK)
        reply["num_samples"] = len(self.X_train)
        if request == "feature_selection":
            mask, scores = self.perform_feature_selection()
            reply.update(selected_features=mask.tolist(), feature_scores=scores.tolist())
        elif request == "tuning_eval":
            mask = self._mask(shareable["tuning_mask"])
            train, val = self.X_train[:, mask], self.X_val[:, mask]
            reply["tuning_score"] = self.evaluate_model(train, self.y_train, val, self.y_val)
        elif request == "apply_mask":
            self._apply(shareable["global_feature_mask"])
        elif request == "train":
            reply["params"] = self._train(shareable.get("params"))
        else:
            raise ValueError(f"the request is {request!r}, which {type(self).__name__} does not know")
        return reply

    def evaluate_model(self, X_train: Any, y_train: Any, X_val: Any, y_val: Any, scaler: Any = None) -> float:
        """Return the score of a model that is trained here alone; 0 without data.

        Args:
            X_train, y_train: data to train with.
            X_val, y_val: data for the score.
            scaler: a fitted scaler; None for a new one.
        """
        if not len(y_train) or not len(y_val):
            return 0.0
        scaler = scaler or StandardScaler().fit(X_train)
        model = LogisticRegression(max_iter=200, random_state=42).fit(scaler.transform(X_train), y_train)
        found = model.predict(scaler.transform(X_val))
        if self.eval_metric == "accuracy":
            return float(accuracy_score(y_val, found))
        return float(f1_score(y_val, found, average="weighted"))

    def perform_feature_selection(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return which features this site selects, and their scores."""
        settings = dict(self.fs_params)
        if self.fs_method in ("lasso", "elastic_net"):
            regression = Lasso if self.fs_method == "lasso" else ElasticNet
            fitted = regression(**settings).fit(StandardScaler().fit_transform(self.X_train), self.y_train)
            scores = np.abs(fitted.coef_)
            return scores > _NONE, scores
        count = self.X_train.shape[1]
        given = settings.pop("k", None)
        most = max(1, count // 2 if given is None else int(given))
        if self.fs_method == "mutual_info":
            scores = mutual_info_classif(self.X_train, self.y_train, **{"random_state": 42, **settings})
        else:
            scores = RandomForestClassifier(**settings).fit(self.X_train, self.y_train).feature_importances_
        mask = np.zeros(count, dtype=bool)
        mask[np.argsort(scores)[-most:]] = True
        return mask, scores

    def _mask(self, given: Any) -> NDArray[Any]:
        mask = np.asarray(given, dtype=bool)
        if len(mask) != self.X_train.shape[1]:
            raise ValueError(f"{len(mask)} features were voted for, and the data have {self.X_train.shape[1]}")
        if not mask.any():
            raise ValueError("no feature is elected; raise freedom_degree, or select less strictly")
        return mask

    def _apply(self, given: Any) -> None:
        if self.global_feature_mask is not None and np.array_equal(self.global_feature_mask, np.asarray(given)):
            return
        mask = self._mask(given)
        self.global_feature_mask = mask
        self.X_train, self.X_val, self.scaler = self.X_train[:, mask], self.X_val[:, mask], None
        if self.feature_names is not None:
            self.feature_names = [name for name, is_in in zip(self.feature_names, mask, strict=True) if is_in]

    def _train(self, params: Mapping[str, Any] | None) -> dict[str, Any]:
        """Fit the model, beginning with the params, and return its own."""
        self.scaler = self.scaler or StandardScaler().fit(self.X_train)
        features = self.scaler.transform(self.X_train)
        if params is not None:
            self.model.classes_ = np.unique(self.y_train)
            self.model.coef_ = np.atleast_2d(np.asarray(params["weight_0"]))
            self.model.intercept_ = np.asarray(params["weight_1"])
        self.model.fit(features, self.y_train)
        return {"weight_0": self.model.coef_.tolist(), "weight_1": self.model.intercept_.tolist()}
