"""Loggers of components, and what logging configurations name."""

from __future__ import annotations

import logging
from typing import Any

from nvflare.fuel.utils.log_formats import BaseFormatter, ColorFormatter, JsonFormatter, LoggerNameFilter

__all__ = [
    "BaseFormatter",
    "ColorFormatter",
    "JsonFormatter",
    "LoggerNameFilter",
    "center_message",
    "custom_logger",
    "get_module_logger",
    "get_obj_logger",
    "get_script_logger",
]


class _ToRun(logging.Handler):
    """Passes records of a job's own code to the log of the run, if one is open."""

    def emit(self, record: logging.LogRecord) -> None:
        for each in logging.getLogger("nvflare").handlers:
            each.handle(record)


_TO_RUN = _ToRun()


def custom_logger(logger: logging.Logger) -> logging.Logger:
    """Return the logger, whose messages are in the log of the run from now on, at the level of all others."""
    if logger.name.partition(".")[0] != "nvflare":
        logger.addHandler(_TO_RUN)
        logger.setLevel(logger.level or logging.getLogger("nvflare").level or logging.INFO)
    return logger


def get_obj_logger(obj: Any) -> logging.Logger:
    """Return the logger of an object's class."""
    return custom_logger(logging.getLogger(f"{type(obj).__module__}.{type(obj).__qualname__}"))


def get_module_logger(module: str | None = None, name: str | None = None) -> logging.Logger:
    """Return the logger of a module, or of something in it."""
    parts = [each for each in (module, name) if each]
    return custom_logger(logging.getLogger(".".join(parts) or "nvflare"))


def get_script_logger() -> logging.Logger:
    """Return the logger of a script."""
    return logging.getLogger("nvflare.script")


def center_message(message: str, boarder_str: str = "=") -> str:
    """Return a message between lines."""
    line = boarder_str * max(40, len(message))
    return f"\n{line}\n{message.center(len(line))}\n{line}"
