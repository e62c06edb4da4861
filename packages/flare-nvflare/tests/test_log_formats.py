"""Logging configurations that name NVIDIA FLARE's formatters and filter."""

from __future__ import annotations

import json
import logging

import pytest
from nvflare_folders import SERVER, write_job

from nvflare._host.simulator import simulate
from nvflare.fuel.utils.log_utils import BaseFormatter, ColorFormatter, JsonFormatter, LoggerNameFilter

FORMAT = "%(name)s|%(fullName)s|%(identity)s|%(fl_ctx)s|%(message)s"


def record(text: str, name: str = "nvflare.app_common.Train", level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord(name, level, __file__, 1, text, (), None)


def test_a_record_has_the_context_of_its_message_apart():
    given = record("[party=site-1, task=train] 3 % done")
    formatted = BaseFormatter(FORMAT).format(given)
    assert formatted == "Train|nvflare.app_common.Train|site-1|[party=site-1, task=train]|3 % done"
    assert given.name == "nvflare.app_common.Train"  # for other handlers
    assert BaseFormatter(FORMAT).format(record("[1, 2] are")) == "Train|nvflare.app_common.Train|||[1, 2] are"


def test_json_has_the_attributes_that_the_format_names():
    found = json.loads(JsonFormatter("%(levelname)s %(identity)s %(message)s").format(record("[party=server] \n")))
    assert found == {"levelname": "INFO", "identity": "server", "message": "\n"}


def test_colours_are_those_of_the_level_or_of_the_logger():
    assert ColorFormatter("%(message)s").format(record("x", level=logging.ERROR)) == "\x1b[31mx\x1b[0m"
    assert ColorFormatter("%(message)s").format(record("x")) == "x"
    assert ColorFormatter("%(message)s", logger_colors={"Train": "green"}).format(record("x")) == "\x1b[32mx\x1b[0m"


@pytest.mark.parametrize(
    ("name", "level", "passes"),
    [
        ("nvflare.app_common.Train", logging.INFO, True),
        ("other", logging.INFO, False),
        ("other", logging.WARNING, True),
        ("nvflare.noise", logging.INFO, False),
        ("own.Train", logging.INFO, True),
    ],
)
def test_a_filter_lets_loggers_pass_by_name(name, level, passes):
    chosen = LoggerNameFilter(["nvflare", "Train"], exclude_logger_names=["nvflare.noise"])
    assert chosen.filter(record("x", name, level)) is passes


TELLING = """
    from nvflare.apis.event_type import EventType
    from nvflare.apis.fl_component import FLComponent


    class Telling(FLComponent):
        def handle_event(self, event_type, fl_ctx):
            if event_type == EventType.START_RUN:
                self.log_info(fl_ctx, "it begins")
"""


def test_a_simulation_takes_a_configuration_that_names_them(tmp_path):
    names, file = "nvflare.fuel.utils.log_utils", str(tmp_path / "own.txt")
    config = {
        "formatters": {"short": {"()": f"{names}.BaseFormatter", "fmt": FORMAT}},
        "filters": {"own": {"()": f"{names}.LoggerNameFilter", "logger_names": ["Telling"]}},
        "handlers": {
            "file": {"class": "logging.FileHandler", "formatter": "short", "filters": ["own"], "filename": file}
        },
        "loggers": {"root": {"level": "INFO", "handlers": ["file"]}},
    }
    (tmp_path / "log.json").write_text(json.dumps(config))
    server = {**SERVER, "components": [*SERVER["components"], {"id": "telling", "path": "own.Telling"}]}
    job = write_job(tmp_path / "job", server, code={"own.py": TELLING})
    simulate(job, tmp_path / "runs", n_clients=2, log_config=str(tmp_path / "log.json"))
    lines = (tmp_path / "own.txt").read_text().splitlines()
    assert "Telling|own.Telling|server|[party=server]|it begins" in lines
