"""Exceptions of federated statistics.

FlareError
└── StatsError            a setting, a data set or an answer is unusable
    └── NotMaskable       a statistic is no sum over sites, so masks cannot hide its parts
"""

from __future__ import annotations

from flare_core import FlareError


class StatsError(FlareError, ValueError):
    """A setting, a data set or an answer is unusable; names the site, feature or statistic."""


class NotMaskable(StatsError):
    """A statistic is no sum over sites, so masks cannot hide the parts of the sites."""
