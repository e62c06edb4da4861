"""Write docs/guide/client-api.md from the docstrings of the Client API; with --check, compare only."""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flare_core.client as client
from flare_core.client import tracking

PAGE = Path(__file__).parents[1] / "docs" / "guide" / "client-api.md"
HEAD = """# The Client API

Written by `tools/client_api_page.py` from the docstrings of `flare_core.client`. All of it is imported as

```python
import flare_core.client as flare
```
"""
GROUPS = {
    "The loop": ("init", "is_running", "receive", "send", "clear", "shutdown"),
    "Which task": ("is_train", "is_evaluate", "is_submit_model", "get_task_name"),
    "Where am I": ("get_site_name", "get_job_id", "system_info", "get_config"),
    "Logging": ("log", "AnalyticsDataType"),
    "Models": ("FLModel", "ParamsType"),
}
SECTION = re.compile(r"^(Args|Returns|Raises|Example|Attributes):$", re.MULTILINE)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/client_api_page.py", description=(__doc__ or "").partition(";")[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    text = page()
    if not options.check:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print("docs/guide/client-api.md does not match the docstrings; run tools/client_api_page.py")
    return 1


def page() -> str:
    """Return the page's text.

    Raises:
        ValueError: a name of the Client API is in no group of this page.
    """
    left_out = set(client.__all__) - {name for names in GROUPS.values() for name in names}
    if left_out:
        raise ValueError(f"tools/client_api_page.py has no group for {', '.join(sorted(left_out))}")
    _, _, rules = inspect.cleandoc(client.__doc__ or "").partition("\n\n")
    loop, _, rules = rules.partition("\n\nThe rules")
    parts = [HEAD, "```python", inspect.cleandoc(loop), "```", "", markdown(f"The rules{rules}")]
    for title, names in GROUPS.items():
        parts += ["", f"## {title}"]
        for name in names:
            parts += ["", *entry(getattr(client, name), name)]
    parts += [
        "",
        "## Writers",
        "",
        "`from flare_core.client.tracking import SummaryWriter, MLflowWriter, WandBWriter`",
        "",
    ]
    parts.append(markdown(inspect.cleandoc(tracking.__doc__ or "").partition("\n\n")[2]))
    for cls in (tracking.SummaryWriter, tracking.MLflowWriter, tracking.WandBWriter):
        parts += ["", f"### {cls.__name__}", "", markdown(inspect.cleandoc(cls.__doc__ or "")), ""]
        for name, method in vars(cls).items():
            if not name.startswith("_"):
                first = inspect.cleandoc(method.__doc__).partition("\n")[0]
                parts.append(f"- `{name}{signature(method)}`: {markdown(first)}")
    return "\n".join(parts) + "\n"


def entry(thing: Any, name: str) -> Iterator[str]:
    """Yield the entry of a function or class, from its signature and docstring."""
    if inspect.isclass(thing) and hasattr(thing, "__members__"):
        yield from (f"### {name}", "", markdown(inspect.cleandoc(thing.__doc__ or "")), "")
        yield ", ".join(f"`{member}`" for member in thing.__members__)
        return
    yield from (f"### {name}", "", "```python", f"{name}{signature(thing)}", "```", "")
    text, *sections = SECTION.split(inspect.cleandoc(thing.__doc__ or ""))
    yield markdown(text.strip())
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        yield from ("", f"**{'Arguments' if title == 'Args' else title}**", "")
        yield from items(inspect.cleandoc(body))


def items(text: str) -> Iterator[str]:
    """Yield the entries of a section as a Markdown list, or a text without names unchanged."""
    if not re.match(r"[\w*]+(, [\w*]+)*: ", text):
        yield markdown(text)
        return
    for line in text.splitlines():
        found = re.match(r"([\w*]+(?:, [\w*]+)*): (.*)", line)
        yield f"- `{found[1]}`: {markdown(found[2])}" if found else f"  {markdown(line.strip())}"


def signature(thing: Callable[..., Any]) -> str:
    """Return the signature without the modules of types."""
    found = inspect.signature(thing)
    kept = [each for each in found.parameters.values() if each.name != "self"]
    return re.sub(r"'", "", str(found.replace(parameters=[each.replace(default=Plain.of(each)) for each in kept])))


class Plain:
    """A default value whose representation is its source code."""

    def __init__(self, value: Any) -> None:
        self.value = value

    @classmethod
    def of(cls, parameter: inspect.Parameter) -> Any:
        """Wrap a parameter's default, if it has one."""
        return parameter.default if parameter.default is parameter.empty else cls(parameter.default)

    def __repr__(self) -> str:
        if hasattr(type(self.value), "__members__"):
            return f"{type(self.value).__name__}.{self.value.name}"
        return "{}" if "factory" in repr(self.value) else repr(self.value)


def markdown(text: str) -> str:
    """Convert the double backticks and roles of docstrings to Markdown."""
    text = re.sub(r":(?:func|meth):`~?(?:[\w.]*\.)?(\w+)`", r"`\1()`", text)
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")


if __name__ == "__main__":
    sys.exit(main())
