"""Configuration files of jobs: JSON, YAML or HOCON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flare_core import JobError

_ENDINGS = (".json", ".yml", ".yaml", ".conf", ".json.default", ".yml.default", ".conf.default")


def find_config(folder: Path, name: str) -> Path | None:
    """Return the configuration file of a name, without its ending, in a folder; None if there is none."""
    return next((path for ending in _ENDINGS if (path := folder / f"{name}{ending}").is_file()), None)


def read_config(path: Path) -> dict[str, Any]:
    """Read a configuration file.

    Raises:
        JobError: it cannot be read; names the file and the problem.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"{path} cannot be read: {error}") from error
    ending = path.name.removesuffix(".default").rpartition(".")[2]
    found = _hocon(text, path) if ending == "conf" else _yaml(text, path) if ending != "json" else _json(text, path)
    if not isinstance(found, dict):
        raise JobError(f"{path}: holds a {type(found).__name__} instead of settings by name")
    return found


def _json(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise JobError(f"{path}: not JSON ({error})") from error


def _yaml(text: str, path: Path) -> Any:
    try:
        import yaml
    except ImportError:
        raise JobError(f"{path} is YAML; pip install pyyaml, or convert the file to JSON") from None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise JobError(f"{path}: not YAML ({error})") from error


def _hocon(text: str, path: Path) -> Any:
    try:
        import pyhocon
    except ImportError:
        raise JobError(
            f"{path} is HOCON; pip install 'flare-nvflare[hocon]' to read it, or convert the file to JSON"
        ) from None
    try:
        return _plain(pyhocon.ConfigFactory.parse_string(text).as_plain_ordered_dict())
    except Exception as error:  # its parser raises errors of several libraries
        raise JobError(f"{path}: not HOCON ({type(error).__name__}: {error})") from error


def _plain(value: Any) -> Any:
    """Return what was parsed as dicts and lists, with the quotes of keys removed."""
    if isinstance(value, dict):
        return {str(key).strip('"'): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
