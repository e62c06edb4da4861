"""Scripts with Flare's own names in the place of NVIDIA FLARE's, as far as they mean the same."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field

from flare_core import client

_NAMES = {
    "nvflare.client": "flare_core.client",
    "nvflare.client.tracking": "flare_core.client.tracking",
    "nvflare.client.lightning": "flare_recipes_pt.lightning",
    "nvflare.client.hf": "flare_recipes_pt.transformers",
    "nvflare.app_opt.lightning.patch": "flare_recipes_pt.lightning.patch",
    "nvflare.app_opt.lightning.api.patch": "flare_recipes_pt.lightning.patch",
    "nvflare.app_opt.hf.patch": "flare_recipes_pt.transformers.patch",
    "nvflare.client.FLModel": "flare_core.FLModel",
    "nvflare.client.ParamsType": "flare_core.ParamsType",
    "nvflare.client.tracking.SummaryWriter": "flare_core.client.tracking.SummaryWriter",
    "nvflare.client.tracking.MLflowWriter": "flare_core.client.tracking.MLflowWriter",
    "nvflare.client.tracking.WandBWriter": "flare_core.client.tracking.WandBWriter",
    "nvflare.app_common.abstract.fl_model.FLModel": "flare_core.FLModel",
    "nvflare.app_common.abstract.fl_model.ParamsType": "flare_core.ParamsType",
    "nvflare.recipe.SimEnv": "flare_runtime.SimEnv",
    "nvflare.recipe.PocEnv": "flare_deploy.PocEnv",
    "nvflare.recipe.ProdEnv": "flare_deploy.ProdEnv",
    "nvflare.recipe.sim_env.SimEnv": "flare_runtime.SimEnv",
    "nvflare.recipe.poc_env.PocEnv": "flare_deploy.PocEnv",
    "nvflare.recipe.prod_env.ProdEnv": "flare_deploy.ProdEnv",
    "nvflare.recipe.add_experiment_tracking": "flare_core.recipes.add_experiment_tracking",
    "nvflare.recipe.utils.add_experiment_tracking": "flare_core.recipes.add_experiment_tracking",
    "nvflare.recipe.add_cross_site_evaluation": "flare_core.recipes.add_cross_site_evaluation",
    "nvflare.recipe.utils.add_cross_site_evaluation": "flare_core.recipes.add_cross_site_evaluation",
}
"""The native name of each name that means the same there."""

_RECIPES = {
    "nvflare.app_opt.pt.recipes": "flare_recipes_pt",
    "nvflare.app_opt.tf.recipes": "flare_recipes_tf",
    "nvflare.app_opt.sklearn.recipes": "flare_recipes_sklearn",
    "nvflare.app_common.np.recipes": "flare_recipes_np",
}
_RECIPE_NAMES = {"NumpyFedAvgRecipe": "FedAvgRecipe", "SklearnFedAvgRecipe": "FedAvgRecipe"}
_KNOWN = {"FedAvgRecipe", "FedOptRecipe", "ScaffoldRecipe", "CyclicRecipe", "KMeansFedAvgRecipe", "SVMFedAvgRecipe"}
_ARGUMENTS = {"model": "initial_model"}
_WITHOUT_EFFECT = {
    "client_memory_gc_rounds", "server_memory_gc_rounds", "cuda_empty_cache", "enable_tensor_disk_offload",
    "launch_once", "launch_timeout", "shutdown_timeout", "task_assignment_timeout",
}  # fmt: skip
_TRAINERS = ("nvflare.client.lightning", "nvflare.client.hf")
_PROXIMAL = "FedProxRecipe"
_MODULES = ("lightning", "transformers")
_BOUND = {"PTScaffoldHelper", "TFScaffoldHelper", "ScaffoldCallback", "AlgorithmConstants", "FEDPROX_MU"}
"""Names of parts that read or write entries in the meta of models, which NVIDIA FLARE's client makes."""

Argument = ast.expr | ast.keyword
Edit = tuple[int, int, int, int, str]


@dataclass
class Rewritten:
    """A script after the change.

    Attributes:
        text: the script.
        notes: what is left to do, with the lines.
    """

    text: str
    notes: list[tuple[int, str]] = field(default_factory=list)


def native_name(name: str) -> str | None:
    """Return Flare's own name for a full name; None if none means the same."""
    if name in _NAMES:
        return _NAMES[name]
    module, _, last = name.rpartition(".")
    if module in _TRAINERS and last in {"patch", *client.__all__}:
        return f"{_NAMES[module]}.{last}"
    for package, own in _RECIPES.items():
        if module == package or module.startswith(f"{package}."):
            known = _RECIPE_NAMES.get(last, last)
            return f"{own}.{known}" if known in _KNOWN else None
    return None


def proximal(texts: Iterable[str]) -> bool | None:
    """Return True if one of some scripts has a FedProxRecipe; None if none of them has a recipe at all."""
    found = list(texts)
    return any(_PROXIMAL in each for each in found) if any("Recipe" in each for each in found) else None


def rewritten(text: str, is_proximal: bool | None = False) -> Rewritten:
    """Return a script with native imports, and with the arguments of recipes renamed or, without effect, left out.

    Args:
        text: the script.
        is_proximal: the script is trained by a FedProxRecipe, whose term NVIDIA FLARE's trainers add; None if unknown.
    Raises:
        SyntaxError: it is no Python.
    """
    tree = ast.parse(text)
    script = _Script(_kept(tree, is_proximal), is_proximal is None)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            new = script.of_import(node)
        elif isinstance(node, ast.ImportFrom):
            new = script.of_import_from(node)
        else:
            continue
        if new is not None:
            script.edits.append((*_start(node), *_end(node), f"\n{' ' * node.col_offset}".join(new)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in script.recipes:
            script.add_call(node, node.func)
    return Rewritten(_edited(text, script.edits), sorted(script.notes))


def _edited(text: str, edits: Iterable[Edit]) -> str:
    lines = text.splitlines(keepends=True)
    for line, column, end, end_column, new_text in sorted(edits, reverse=True):
        first, last = lines[line - 1].encode(), lines[end - 1].encode()
        whole = first[:column].decode() + new_text + last[end_column:].decode()
        lines[line - 1 : end] = [whole]
    return "".join(lines)


def _kept(tree: ast.AST, is_proximal: bool | None) -> dict[str, str]:
    """Return the modules whose names must stay, with the reason."""
    imported = {
        each.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nvflare.")
        for each in node.names
    }
    kept = {}
    if is_proximal:
        reason = f"its patch adds the term of a {_PROXIMAL}; natively, add flare_recipes_pt.ProximalLoss to the loss"
        kept = {"nvflare.client.lightning": reason, "nvflare.app_opt.lightning": reason}
        kept["nvflare.app_opt.lightning.api"] = reason
    if bound := sorted(imported & _BOUND):
        kept["nvflare.client"] = f"{bound[0]} works with the entries in meta that it makes; see docs/migration.md"
    return kept


@dataclass
class _Script:
    """The changes of a script.

    Attributes:
        kept: modules whose names stay, with the reason.
        may_be_proximal: the recipe is in none of the scripts.
        edits: from line and column to line and column: the new text.
        notes: what is left to do, with the lines.
        recipes: the native names of recipes, by the name that the script has for them.
    """

    kept: dict[str, str]
    may_be_proximal: bool
    edits: list[Edit] = field(default_factory=list)
    notes: list[tuple[int, str]] = field(default_factory=list)
    recipes: dict[str, str] = field(default_factory=dict)

    def of_import(self, node: ast.Import) -> list[str] | None:
        if not any(each.name.partition(".")[0] == "nvflare" for each in node.names):
            return None
        made = []
        for each in node.names:
            own = self._native(each.name, node.lineno)
            if own is not None and not each.asname:
                self.notes.append((node.lineno, f"{each.name} stays: it is used by its full name"))
                own = None
            made.append(f"import {own or each.name}" + (f" as {each.asname}" if each.asname else ""))
        return made

    def of_import_from(self, node: ast.ImportFrom) -> list[str] | None:
        if node.level or (node.module or "").partition(".")[0] != "nvflare":
            return None
        groups: dict[str, list[str]] = {}
        for each in node.names:
            own = self._native(f"{node.module}.{each.name}", node.lineno)
            module, _, name = (own or f"{node.module}.{each.name}").rpartition(".")
            if own is not None and name.endswith("Recipe"):
                self.recipes[each.asname or each.name] = each.asname or name
            shown = each.asname or (each.name if name != each.name and name in _MODULES else None)
            groups.setdefault(module, []).append(f"{name} as {shown}" if shown else name)
        return [f"from {module} import {', '.join(names)}" for module, names in groups.items()]

    def add_call(self, node: ast.Call, name: ast.Name) -> None:
        """Rename a recipe and its arguments, and leave out those without effect that are plain values."""
        if self.recipes[name.id] != name.id:
            self.edits.append((*_start(name), *_end(name), self.recipes[name.id]))
        given: list[Argument] = sorted([*node.args, *node.keywords], key=_start)
        last = max((index for index, each in enumerate(given) if not _has_no_effect(each)), default=-1)
        for index, each in enumerate(given):
            if _has_no_effect(each):
                assert isinstance(each, ast.keyword)
                self.notes.append((each.lineno, f"{each.arg} is left out: it has no effect on Flare"))
                if index < last:
                    self.edits.append((*_start(each), *_start(given[index + 1]), ""))
            elif isinstance(each, ast.keyword) and each.arg in _ARGUMENTS:
                line, column = _start(each)
                self.edits.append((line, column, line, column + len(each.arg), _ARGUMENTS[each.arg]))
        if last < len(given) - 1:
            begin = _start(given[0]) if last < 0 else _end(given[last])
            self.edits.append((*begin, *_end(given[-1]), ""))

    def _native(self, name: str, line: int) -> str | None:
        """Return the native name of something that is imported, unless that must stay."""
        own = native_name(name)
        if name.partition(".")[0] != "nvflare":
            return None
        reason = self.kept.get(name) or self.kept.get(name.rpartition(".")[0])
        if own is None or reason:
            self.notes.append((line, f"{name} stays: {reason or 'no native name means the same'}"))
            return None
        if self.may_be_proximal and own in ("flare_recipes_pt.lightning", "flare_recipes_pt.lightning.patch"):
            self.notes.append(
                (line, f"{name}: if a {_PROXIMAL} trains it, keep this import, whose patch adds its term")
            )
        return own


def _has_no_effect(argument: Argument) -> bool:
    if not isinstance(argument, ast.keyword):
        return False
    return argument.arg in _WITHOUT_EFFECT and isinstance(argument.value, ast.Constant)


def _start(node: ast.stmt | Argument) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: ast.stmt | Argument) -> tuple[int, int]:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return node.end_lineno, node.end_col_offset
