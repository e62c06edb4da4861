"""Scripts with Flare's own names in the place of NVIDIA FLARE's, as far as they mean the same."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

_NAMES = {
    "nvflare.client": "flare_core.client",
    "nvflare.client.tracking": "flare_core.client.tracking",
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
    for package, own in _RECIPES.items():
        if module == package or module.startswith(f"{package}."):
            known = _RECIPE_NAMES.get(last, last)
            return f"{own}.{known}" if known in _KNOWN else None
    return None


def rewritten(text: str) -> Rewritten:
    """Return a script with native imports, and with the arguments of recipes renamed.

    Raises:
        SyntaxError: it is no Python.
    """
    tree = ast.parse(text)
    lines = text.splitlines(keepends=True)
    notes: list[tuple[int, str]] = []
    edits: list[tuple[int, int, int, int, str]] = []  # from line and column to line and column: the new text
    recipes: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            new = _import(node, notes)
        elif isinstance(node, ast.ImportFrom):
            new = _import_from(node, notes, recipes)
        else:
            continue
        if new is not None and node.end_lineno is not None and node.end_col_offset is not None:
            pad = " " * node.col_offset
            edits.append((node.lineno, node.col_offset, node.end_lineno, node.end_col_offset, f"\n{pad}".join(new)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in recipes:
            for each in node.keywords:
                if each.arg in _ARGUMENTS:
                    start = each.lineno, each.col_offset
                    edits.append((*start, each.lineno, each.col_offset + len(each.arg), _ARGUMENTS[each.arg]))
            if recipes[node.func.id] != node.func.id:
                name = node.func
                edits.append(
                    (name.lineno, name.col_offset, name.lineno, name.col_offset + len(name.id), recipes[name.id])
                )
    for line, column, end, end_column, new_text in sorted(edits, reverse=True):
        first, last = lines[line - 1].encode(), lines[end - 1].encode()
        whole = first[:column].decode() + new_text + last[end_column:].decode()
        lines[line - 1 : end] = [whole]
    return Rewritten("".join(lines), sorted(notes))


def _import(node: ast.Import, notes: list[tuple[int, str]]) -> list[str] | None:
    if not any(each.name.partition(".")[0] == "nvflare" for each in node.names):
        return None
    made = []
    for each in node.names:
        own = native_name(each.name)
        if own is None and each.name.partition(".")[0] == "nvflare":
            notes.append((node.lineno, f"{each.name} stays: no native name means the same"))
        if own is not None and not each.asname:
            notes.append((node.lineno, f"{each.name} stays: it is used by its full name"))
            own = None
        made.append(f"import {own or each.name}" + (f" as {each.asname}" if each.asname else ""))
    return made


def _import_from(node: ast.ImportFrom, notes: list[tuple[int, str]], recipes: dict[str, str]) -> list[str] | None:
    if node.level or (node.module or "").partition(".")[0] != "nvflare":
        return None
    groups: dict[str, list[str]] = {}
    for each in node.names:
        own = native_name(f"{node.module}.{each.name}")
        if own is None:
            notes.append((node.lineno, f"{node.module}.{each.name} stays: no native name means the same"))
        module, _, name = (own or f"{node.module}.{each.name}").rpartition(".")
        if own is not None and name.endswith("Recipe"):
            recipes[each.asname or each.name] = each.asname or name
        groups.setdefault(module, []).append(f"{name} as {each.asname}" if each.asname else name)
    return [f"from {module} import {', '.join(names)}" for module, names in groups.items()]
