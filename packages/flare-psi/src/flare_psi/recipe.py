"""PSIRecipe: which ids do all sites have?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from flare_core import RecipeError
from flare_core.additions import check_sites
from flare_core.code import calling_folder, collect_code
from flare_core.components import Component
from flare_core.job import ClientApp, CodeBundle, ExecutorEntry, Job, ServerApp
from flare_core.recipe import Recipe, check_component, check_count
from flare_core.recipes.workflow import module_file
from flare_psi.ids import Normalisation
from flare_psi.ids.reading import DELIMITERS, TEXT

RESULTS = ("ids", "cardinality")
_ENDINGS = (".csv", ".txt")
TASKS = ("psi.prepare", "psi.pass", "psi.digests", "psi.finish", "psi.forget")
_SETTINGS = ("ids", "column", "delimiter", "encoding", "salt", "min_intersection", "output")


@dataclass(kw_only=True, eq=False, repr=False)
class PSIRecipe(Recipe):
    """Find which ids all sites have, without showing the others (private set intersection).

    Ids are compared as exact strings. Each counts once, however often a site has it. All connected sites take part, at
    least 2; the result has the same order at all of them. docs/psi.md says who learns what.

    Args:
        per_site_config: by site, ``ids``: the path of its file at the site (``.txt``, ``.csv``, ``.tsv`` or
            ``.parquet``); ``column``: the name of the column, or a list of names for a key of several parts;
            ``delimiter``: the character between cells, if it is not a comma in ``.csv`` and a tab in ``.tsv``;
            ``encoding``: of a file of text that is not UTF-8, such as ``latin-1``; ``salt``: the path of a file with at
            least 16 random bytes, the same at all sites; ``min_intersection``: the site refuses results with fewer ids;
            ``output``: the path of the common ids at the site, in place of ``output_path``.
        local_psi: an object with ``load_items()``, derived from :class:`~flare_psi.PSI`, for the sites that
            ``per_site_config`` does not name; its module is sent with the job if it lies beside the file that makes the
            recipe.
        result: ``ids``, or ``cardinality`` for their number alone.
        receivers: the names of the sites that learn the result; None for all. The server learns sizes in any case.
        normalize: rules for each part of a key, such as ``["email"]`` or ``["trim,case", "date:%d.%m.%Y"]``; see
            :mod:`flare_psi.ids.normalisation`.
        pad_to: hide the number of a site's ids by random ones, up to the next multiple of this.
        output_path: of the common ids, in the run folder of each site that learns them; ends in .csv or .txt.
        reconnect_grace_s: seconds to wait while a site is not connected before the run fails.

    Raises:
        RecipeError: an argument is unusable; names it, its value and the remedy.

    Example:
        recipe = PSIRecipe(
            min_clients=2,
            per_site_config={
                "bank": {"ids": "/data/customers.csv", "column": "email"},
                "shop": {"ids": "/data/members.parquet", "column": "mail"},
            },
            normalize=["email"],
        )
    """

    name: str = "psi"
    per_site_config: Mapping[str, Mapping[str, Any]] | None = None
    local_psi: Any = None
    result: str = "ids"
    receivers: Sequence[str] | None = None
    normalize: str | Sequence[str | None] | None = None
    pad_to: int | None = None
    output_path: str = "intersection.csv"
    reconnect_grace_s: float | None = None

    def _check(self) -> None:
        super()._check()
        self._folder = calling_folder()
        if self.min_clients < 2:
            raise RecipeError(f"min_clients is {self.min_clients}; an intersection needs at least 2 sites")
        if self.result not in RESULTS:
            raise RecipeError(f"result is {self.result!r}; use 'ids' or 'cardinality'")
        if self.receivers is not None:
            if isinstance(self.receivers, str) or not self.receivers:
                raise RecipeError(f"receivers is {self.receivers!r}; give a list of sites, or None for all")
            check_sites(self.receivers, "receivers")
        if self.pad_to is not None:
            self.pad_to = check_count(self.pad_to, "pad_to")
        path = PurePosixPath(str(self.output_path))
        if path.is_absolute() or ".." in path.parts or path.suffix not in _ENDINGS:
            raise RecipeError(f"output_path is {self.output_path!r}; give a relative path that ends in .csv or .txt")
        self.output_path = str(self.output_path)
        self._sites = self._checked_sites(self.per_site_config or {})
        self._local = None
        if self.local_psi is not None:
            self._local, made = check_component(self.local_psi, "local_psi", object)
            if not callable(getattr(made, "load_items", None)):
                raise RecipeError(
                    f"local_psi is a {type(made).__name__} without load_items(); derive its class from PSI"
                )
        if self._local is None and not self._sites:
            raise RecipeError(
                "give per_site_config={site: {'ids': PATH, 'column': …}}, or local_psi: the sites need ids"
            )
        self._check_parts()

    def _checked_sites(self, given: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        if not isinstance(given, Mapping) or not all(isinstance(each, Mapping) for each in given.values()):
            raise RecipeError(f"per_site_config is {given!r}; write {{site: {{'ids': PATH, 'column': …}}}}")
        check_sites(given, "per_site_config")
        for site, settings in given.items():
            where = f"per_site_config[{site!r}]"
            if unknown := sorted(set(settings) - set(_SETTINGS)):
                raise RecipeError(f"{where} has the unknown setting {unknown[0]!r}; use {', '.join(_SETTINGS)}")
            if settings.get("ids") is None and self.local_psi is None:
                raise RecipeError(f"{where} has no ids; give the path of the site's file")
            column = settings.get("column")
            if column is not None and not (isinstance(column, str) or _is_list_of_text(column)):
                raise RecipeError(f"{where}['column'] is {column!r}; give a name, or a list of names")
            _check_text(settings, where)
            output = settings.get("output")
            if output is not None and PurePosixPath(str(output)).suffix not in _ENDINGS:
                raise RecipeError(f"{where}['output'] is {output!r}; give a path that ends in .csv or .txt")
            check_count(settings.get("min_intersection", 0), f"{where}['min_intersection']", minimum=0)
        salted = {bool(each.get("salt")) for each in given.values()}
        if len(salted) > 1:
            raise RecipeError("per_site_config has a salt for some sites only; give the same salt to all, or to none")
        return {site: dict(settings) for site, settings in given.items()}

    def _check_parts(self) -> None:
        """Check that keys have as many parts at all sites, and the rules for them."""
        counts = {site: len(_columns(each)) for site, each in self._sites.items() if each.get("column") is not None}
        if len(set(counts.values())) > 1:
            one, other = min(counts, key=lambda site: counts[site]), max(counts, key=lambda site: counts[site])
            raise RecipeError(
                f"per_site_config has {counts[one]} columns for {one}, but {counts[other]} for {other}; give the parts"
                " of a key in the same order at all sites"
            )
        rules = Normalisation(self.normalize)
        self._parts = next(iter(counts.values()), max(1, len(rules.texts)))
        if rules.texts and len(rules.texts) != self._parts:
            raise RecipeError(
                f"normalize has rules for {len(rules.texts)} columns, but keys have {self._parts}; give an entry for"
                " each, None for none"
            )
        self._rules = rules.texts

    @property
    def row_file(self) -> str:
        """The path of the result in each site's folder, with the rows to align by in the column ``first_row``.

        Raises:
            RecipeError: not all sites get such a file.
        """
        is_elsewhere = any(each.get("output") is not None for each in self._sites.values())
        if self.result != "ids" or self.receivers is not None or is_elsewhere or self.output_path[-4:] != ".csv":
            raise RecipeError(
                "rows can be aligned only if all sites learn the ids, in a .csv file of the run folder; leave out"
                " result, receivers, output_path and output"
            )
        return str(self.output_path)

    def build(self) -> Job:
        file = None if self._local is None else module_file(self._local, self._folder)
        args = {"result": self.result, "receivers": None if self.receivers is None else list(self.receivers)}
        return Job(
            name=self.name,
            min_clients=self.min_clients,
            server=ServerApp(workflows=[Component("flare_psi.workflow.Intersect", args)]),
            client=self._app({}),
            sites={site: self._app(settings) for site, settings in self._sites.items()},
            code=collect_code([file], self._folder) if file is not None else CodeBundle(self._folder),
        )

    def _app(self, settings: Mapping[str, Any]) -> ClientApp:
        local = self._local
        if settings.get("ids") is not None:
            local = Component(
                "flare_psi.ids.FileItems",
                {"ids": str(settings["ids"]), "column": settings.get("column")}
                | {name: settings[name] for name in ("delimiter", "encoding") if settings.get(name) is not None},
            )
        args: dict[str, Any] = {
            "local_psi": local,
            "columns": _columns(settings) or [f"id{at}" if at else "id" for at in range(self._parts)],
            "normalize": self._rules,
            "result": self.result,
            "receivers": None if self.receivers is None else list(self.receivers),
            "pad_to": self.pad_to,
            "output_path": str(settings.get("output") or self.output_path),
            "salt": None if settings.get("salt") is None else str(settings["salt"]),
            "min_intersection": int(settings.get("min_intersection", 0)),
        }
        executor = Component("flare_psi.site.PSIExecutor", args)
        return ClientApp(
            executors=[ExecutorEntry(TASKS, executor)], components={"psi": Component("flare_psi.site.Outbox", {})}
        )


def _columns(settings: Mapping[str, Any]) -> list[str]:
    column = settings.get("column")
    return [] if column is None else [column] if isinstance(column, str) else list(column)


def _check_text(settings: Mapping[str, Any], where: str) -> None:
    """Check how a site's file of text is to be read."""
    ending = PurePosixPath(str(settings.get("ids", ""))).suffix.lower()
    delimiter, encoding = settings.get("delimiter"), settings.get("encoding")
    for name, value, endings in (("delimiter", delimiter, tuple(DELIMITERS)), ("encoding", encoding, TEXT)):
        if value is not None and ending not in endings:
            raise RecipeError(
                f"{where}[{name!r}] is {value!r}, but is only for ids in files that end in {', '.join(endings)}; leave"
                " it out"
            )
    if delimiter is not None and not (isinstance(delimiter, str) and len(delimiter) == 1 and delimiter not in '"\r\n'):
        raise RecipeError(f"{where}['delimiter'] is {delimiter!r}; give the character between cells, such as ';'")
    if encoding is not None:
        try:
            "".encode(encoding)
        except (LookupError, TypeError, ValueError):
            raise RecipeError(
                f"{where}['encoding'] is {encoding!r}; give an encoding that Python knows, such as 'latin-1'"
            ) from None


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(isinstance(each, str) for each in value)
