"""Logging of a run: Flare's packages log to the run's log file and never to the terminal."""

from __future__ import annotations

import json
import logging
import logging.config
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flare_core import RecipeError
from flare_core.extensions import names
from flare_runtime.terminal import printable

LogConfig = str | Mapping[str, Any] | Path | None

FORMAT = "%(asctime)s %(levelname)-7s %(process)d %(name)s %(message)s"


def check_log_config(config: LogConfig) -> str | Mapping[str, Any]:
    """Return the name of a level, or a dict for :func:`logging.config.dictConfig`.

    Args:
        config: a level (``"debug"``), such a dict, or the path of a JSON file that contains one; None means ``"info"``.
    Raises:
        RecipeError: ``config`` is none of these.
    """
    if config is None:
        return "INFO"
    if isinstance(config, Mapping):
        return config
    if isinstance(config, str) and config.upper() in logging.getLevelNamesMapping():
        return config.upper()
    path = Path(config)
    if not path.is_file():
        raise RecipeError(f"log_config is {config!r}; give a level such as 'debug', a dict, or the path of a JSON file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecipeError(f"log_config {path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"log_config {path} contains a {type(content).__name__}; it must contain an object")
    return content


class _Formatter(logging.Formatter):
    """A formatter that indents all but the first line of a record, so that no text from outside looks like a record."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record)).replace("\n", "\n    ")


@contextmanager
def log_to(path: Path, config: str | Mapping[str, Any]) -> Iterator[None]:
    """Send Flare's log records to ``path`` during the block, then restore the logging configuration.

    The loggers are those that installed packages declare in the entry-point group ``flare.loggers``. A process that was
    forked in such a block has its handler already.
    """
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(_Formatter(FORMAT))
    before = [(logger, logger.level, logger.propagate) for logger in map(logging.getLogger, names("flare.loggers"))]
    for logger, _, _ in before:
        if not any(_writes_to(each, handler.baseFilename) for each in logger.handlers):
            logger.addHandler(handler)
        logger.setLevel(config if isinstance(config, str) else logging.INFO)
        logger.propagate = False
    if not isinstance(config, str):
        logging.config.dictConfig({"disable_existing_loggers": False, "version": 1, **config})
    try:
        yield
    finally:
        for logger, level, propagate in before:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
        handler.close()


def _writes_to(handler: logging.Handler, file: str) -> bool:
    return isinstance(handler, logging.FileHandler) and handler.baseFilename == file
