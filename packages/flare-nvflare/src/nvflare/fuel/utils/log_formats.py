"""Formatters and a filter that logging configurations name, as in a ``log_config.json``."""

from __future__ import annotations

import copy
import json
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

_FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"
_JSON_FORMAT = "%(asctime)s - %(identity)s - %(name)s - %(fullName)s - %(levelname)s - %(fl_ctx)s - %(message)s"
_CONTEXT = re.compile(r"^\[(?P<pairs>(?:party|task)=[^\]]*)\] ")  # as components write it
_COLOURS = {"red": "31", "bold_red": "31;1", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36",
            "black": "30", "white": "37", "grey": "38"}  # fmt: skip
_LEVELS = {"CRITICAL": "bold_red", "ERROR": "red", "WARNING": "yellow", "DEBUG": "grey"}


class BaseFormatter(logging.Formatter):
    """Formats records, which have more attributes: ``fullName`` of the logger, of which ``name`` is the last part,
    ``fl_ctx``, the context at the beginning of a message, and ``identity``, the party in it.

    Args:
        fmt, datefmt, style: of :class:`logging.Formatter`.
    """

    def __init__(self, fmt: str | None = _FORMAT, datefmt: str | None = None, style: Any = "%") -> None:
        super().__init__(fmt, datefmt, style)

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        return super().format(_extended(record))


class ColorFormatter(BaseFormatter):
    """Formats records in the colour of their level, or of their logger.

    Args:
        fmt, datefmt, style: of :class:`logging.Formatter`.
        level_colors: colours by the name of a level.
        logger_colors: colours by the full name or the last part of the name of a logger; they go before those of
            levels up to ``INFO``.
    """

    def __init__(
        self,
        fmt: str | None = _FORMAT,
        datefmt: str | None = None,
        style: Any = "%",
        level_colors: Mapping[str, str] = _LEVELS,
        logger_colors: Mapping[str, str] = {},  # not changed
    ) -> None:
        super().__init__(fmt, datefmt, style)
        self.level_colors = dict(level_colors)
        self.logger_colors = dict(logger_colors)

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record, with the codes of a terminal around it."""
        text = super().format(record)
        name = self.level_colors.get(record.levelname)
        if record.levelno <= logging.INFO:
            own = self.logger_colors.get(record.name, self.logger_colors.get(record.name.rpartition(".")[2]))
            name = own or name
        code = _COLOURS.get(name or "", name)
        return text if not code else f"\x1b[{code}m{text}\x1b[0m"


class JsonFormatter(BaseFormatter):
    """Formats records as JSON objects.

    Args:
        fmt: names the attributes, which are the keys.
        datefmt, style: of :class:`logging.Formatter`.
    """

    def __init__(self, fmt: str | None = _JSON_FORMAT, datefmt: str | None = None, style: Any = "%") -> None:
        super().__init__(fmt, datefmt, style)
        self.keys = re.findall(r"%\((\w+)\)", fmt or _JSON_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        """Return the JSON of a record, on one line."""
        extended = _extended(record)
        extended.asctime = self.formatTime(extended, self.datefmt)
        values = {key: getattr(extended, key, "") for key in self.keys if key != "message"}
        if "message" in self.keys:
            values["message"] = extended.getMessage()
        if extended.exc_info:
            values["exc_info"] = self.formatException(extended.exc_info)
        return json.dumps(values, default=str)


class LoggerNameFilter(logging.Filter):
    """Lets records of some loggers pass.

    Args:
        logger_names: the loggers, by the beginning or the last part of their names.
        exclude_logger_names: loggers whose records do not pass, likewise.
        allow_all_error_logs: all records above ``INFO`` pass.
    """

    def __init__(
        self,
        logger_names: Sequence[str] = ("nvflare",),
        exclude_logger_names: Sequence[str] = (),
        allow_all_error_logs: bool = True,
    ) -> None:
        super().__init__()
        self.logger_names = list(logger_names)
        self.exclude_logger_names = list(exclude_logger_names)
        self.allow_all_error_logs = allow_all_error_logs

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True if a record passes."""
        if self.allow_all_error_logs and record.levelno > logging.INFO:
            return True
        return _is_among(record.name, self.logger_names) and not _is_among(record.name, self.exclude_logger_names)


def _is_among(name: str, loggers: Sequence[str]) -> bool:
    return any(name.startswith(each) or name.rpartition(".")[2] == each for each in loggers)


def _extended(record: logging.LogRecord) -> Any:
    """Return a copy of a record with the attributes that formats can name."""
    extended: Any = copy.copy(record)
    extended.fullName = getattr(record, "fullName", record.name)
    extended.name = record.name.rpartition(".")[2]
    message = record.getMessage()
    extended.fl_ctx, extended.identity, rest = context_of(message)
    if rest != message:
        extended.msg, extended.args = rest, None
    return extended


def context_of(message: str) -> tuple[str, str, str]:
    """Return the context at the beginning of a message, the party in it, and the rest of the message."""
    if (found := _CONTEXT.match(message)) is None:
        return "", "", message
    pairs = dict(part.strip().partition("=")[::2] for part in found["pairs"].split(","))
    return f"[{found['pairs']}]", pairs.get("party", ""), message[found.end() :]
