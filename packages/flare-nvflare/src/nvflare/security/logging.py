"""Texts about exceptions."""

from __future__ import annotations

import logging
import os
import traceback
from typing import Any

SECURE_LOGGING_VAR_NAME = "NVFLARE_SECURE_LOGGING"


def is_secure() -> bool:
    """Return True if texts must not hold values, as ``NVFLARE_SECURE_LOGGING`` asks for."""
    return os.environ.get(SECURE_LOGGING_VAR_NAME, "").lower() in ("1", "true")


def secure_format_exception(e: BaseException, fmt: Any = None) -> str:
    """Return the type and the message of an exception."""
    return type(e).__name__ if is_secure() else f"{type(e).__name__}: {e}"


def secure_format_traceback(fmt: Any = None) -> str:
    """Return the traceback of the exception that is being handled."""
    return "" if is_secure() else traceback.format_exc()


def secure_log_traceback(logger: logging.Logger | None = None) -> None:
    """Log the traceback of the exception that is being handled."""
    (logger or logging.getLogger("nvflare")).error("%s", secure_format_traceback())
