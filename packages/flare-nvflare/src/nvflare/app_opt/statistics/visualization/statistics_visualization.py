"""Statistics of features as tables and pictures in a notebook."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

_AS_SHARES = "percent"


class Visualization:
    """Shows what a statistics recipe has stored; its ``report.html`` shows the same without a notebook."""

    def show_stats(self, data: Mapping[str, Any], white_list_features: Sequence[str] | None = None) -> None:
        """Show a table of each feature: a column for every statistic, a row for every data set of a site."""
        import pandas

        for feature in _chosen(data, white_list_features):
            columns = {
                statistic: {f"{site}-{part}": value for site, parts in sites.items() for part, value in parts.items()}
                for statistic, sites in data[feature].items()
                if statistic != "histogram"
            }
            sys.stdout.write(f"\n{feature}\n\n")
            _show(pandas.DataFrame(columns))

    def show_histograms(
        self,
        data: Mapping[str, Any],
        display_format: str = "sample_count",
        white_list_features: Sequence[str] | None = None,
        plot_type: str = "both",
    ) -> None:
        """Draw the histograms of features; arguments as for the two methods that this one calls."""
        self.show_dataframe_plots(self.get_histogram_dataframes(data, display_format, white_list_features), plot_type)

    def show_dataframe_plots(self, feature_dfs: Mapping[str, Any], plot_type: str = "both") -> None:
        """Draw a line for every column of tables.

        Args:
            feature_dfs: a table for each feature.
            plot_type: ``main`` for all lines in one picture, ``subplot`` for a picture of each line, or ``both``.
        Raises:
            ValueError: the type is none of these.
        """
        if plot_type not in ("main", "subplot", "both"):
            raise ValueError(f"plot_type is {plot_type!r}; give 'main', 'subplot' or 'both'")
        for feature, table in feature_dfs.items():
            if plot_type != "subplot":
                table.plot.line(rot=40, title=feature)
            if plot_type != "main":
                table.plot.line(rot=40, subplots=True, title=feature)

    def get_histogram_dataframes(
        self,
        data: Mapping[str, Any],
        display_format: str = "sample_count",
        white_list_features: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """Return the histograms of each feature as a table: a row for the lower end of each bin, a column for each data
        set of a site.

        Args:
            data: the stored statistics.
            display_format: ``percent`` for each bin's share of the rows; otherwise their number.
            white_list_features: the features; all by default.
        """
        import pandas

        tables = {}
        for feature in _chosen(data, white_list_features):
            lines = {
                f"{site}-{part}": _heights(bins, display_format)
                for site, parts in data[feature].get("histogram", {}).items()
                for part, bins in parts.items()
            }
            if lines:
                tables[feature] = pandas.DataFrame(lines)
        return tables


def _chosen(data: Mapping[str, Any], features: Sequence[str] | None) -> list[str]:
    return [each for each in data if not features or each in features]


def _heights(bins: Sequence[Sequence[float]], display_format: str) -> dict[float, float]:
    total = sum(count for _, _, count in bins) or 1
    scale = total if display_format == _AS_SHARES else 1
    return {low: count / scale for low, _, count in bins}


def _show(table: Any) -> None:
    if "IPython" in sys.modules:  # in a notebook
        importlib.import_module("IPython.display").display(table)
    else:
        sys.stdout.write(f"{table.to_string()}\n")
