"""``flare recipe``: the recipes that installed packages declare in the entry-point group ``flare.recipes``."""

from __future__ import annotations

import inspect
import re
import textwrap
from enum import Enum
from importlib.metadata import EntryPoint
from typing import Annotated, Any

import typer

from flare_deploy.cli.output import Form, FormOption, show, table

app = typer.Typer(help="Show the installed recipes.", no_args_is_help=True)

EXAMPLE = "\nExample:\n"


@app.command("list")
def list_recipes(form: FormOption = Form.TEXT) -> None:
    """List the installed recipes."""
    found = [{"name": entry.attr, "package": entry.module} for entry in installed_recipes()]
    rows = [[each["name"], each["package"], f"flare recipe show {each['package']}.{each['name']}"] for each in found]
    show(
        form,
        found,
        table(
            ["recipe", "package", "more"],
            rows,
            empty="no recipe is installed; pip install flare-recipes-np",
        ),
    )


@app.command("show")
def show_recipe(
    name: Annotated[str, typer.Argument(help="Such as flare_recipes_np.FedAvgRecipe.")], form: FormOption = Form.TEXT
) -> None:
    """Show a recipe's arguments."""
    from flare_core.extensions import load

    package, _, class_name = name.rpartition(".")
    found = [each for each in installed_recipes() if each.attr == class_name and package in ("", each.module)]
    if not found:
        known = ", ".join(f"{each.module}.{each.attr}" for each in installed_recipes()) or "none"
        raise typer.BadParameter(f"the recipe {name!r} is not installed; installed are {known}")
    cls = load(found[0])
    arguments = recipe_arguments(cls)
    values = {"name": class_name, "package": found[0].module, "summary": recipe_summary(cls), "arguments": arguments}
    show(
        form,
        values,
        _plain(f"{values['summary']}\n\n{recipe_example(cls)}\n\n" + "\n".join(map(_argument_text, arguments))),
    )


def _plain(text: str) -> str:
    """Remove the markup of a docstring: roles and double backticks."""
    return re.sub(r":\w+:`~?([^`]+)`", r"\1", text).replace("``", "")


def _argument_text(argument: dict[str, Any]) -> str:
    head = argument["name"] if argument["required"] else f"{argument['name']}={argument['default']}"
    return head + "\n" + textwrap.fill(argument["help"], 100, initial_indent="    ", subsequent_indent="    ")


def recipe_summary(cls: type) -> str:
    """Return what a recipe is for and the forms of its initial model, from docstrings without their sections."""
    frameworks = [each for each in cls.__mro__ if "framework" in each.__dict__]
    return "\n\n".join(map(description, dict.fromkeys([cls, algorithm_of(cls), *frameworks])))


def recipe_example(cls: type) -> str:
    """Return code that makes such a recipe."""
    example = textwrap.dedent(inspect.cleandoc(algorithm_of(cls).__doc__ or "").partition(EXAMPLE)[2])
    start = f"from {cls.__module__.partition('.')[0]} import "
    if not example.startswith(start):
        return f"{start}{cls.__name__}\n\n{example}"
    first, _, rest = example.removeprefix(start).partition("\n")
    return f"{start}{', '.join(sorted([cls.__name__, *first.split(', ')]))}\n{rest}"


def algorithm_of(cls: type) -> type:
    """Return the class that describes the algorithm: the first with an example, which frameworks may share."""
    return next((each for each in cls.__mro__ if EXAMPLE in inspect.cleandoc(each.__dict__.get("__doc__") or "")), cls)


def description(cls: type) -> str:
    """Return a class's docstring without its sections."""
    return inspect.cleandoc(cls.__doc__ or "").partition(EXAMPLE)[0].partition("\n\nArgs:\n")[0].strip()


def recipe_arguments(cls: type) -> list[dict[str, Any]]:
    """Return each argument with its default and its meaning, which the defining class describes."""
    meanings: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        meanings |= _described_in(inspect.cleandoc(each.__dict__.get("__doc__") or ""))
    return [
        {
            "name": each.name,
            "required": each.default is each.empty,
            "default": None if each.default is each.empty else _shown(each.default),
            "help": meanings.get(each.name, ""),
        }
        for each in inspect.signature(cls).parameters.values()
    ]


def _described_in(text: str) -> dict[str, str]:
    """Return the entries of the section Args of a docstring."""
    found: dict[str, str] = {}
    name = ""
    for line in text.partition("Args:\n")[2].splitlines():
        if not line.startswith("    "):
            break
        if entry := re.match(r"    (\w+): (.*)", line):
            name, found[entry[1]] = entry[1], entry[2]
        else:
            found[name] += f" {line.strip()}"
    return found


def _shown(value: Any) -> str:
    return repr(value.value) if isinstance(value, Enum) else repr(value)


def installed_recipes() -> list[EntryPoint]:
    """Return the entry point of every installed recipe, sorted by package; no package is imported."""
    from flare_core.extensions import extensions

    return sorted(extensions("flare.recipes"), key=lambda entry: (entry.module, entry.attr))
