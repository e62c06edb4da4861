"""What ended a run says where in the job's own code, and takes nothing else for that."""

from __future__ import annotations

import pytest

from flare_core.files import link
from flare_runtime.run.failure import reason_of


def test_an_error_raised_in_flare_is_not_attributed_to_the_jobs_code(tmp_path):
    with pytest.raises(FileNotFoundError) as raised:
        link(tmp_path / "absent", tmp_path / "target")
    trace = raised.value.__traceback__
    assert trace is not None
    inside = raised.value.with_traceback(trace.tb_next)  # as if Flare itself had called it
    assert reason_of(inside) == f"FileNotFoundError: [Errno 2] No such file or directory: '{tmp_path / 'absent'}'"


def test_an_error_of_the_jobs_code_says_where_it_was_raised():
    try:
        raise ValueError("odd")
    except ValueError as error:
        told = reason_of(error)
    assert told is not None
    assert told.startswith("ValueError: odd, in test_an_error_of_the_jobs_code_says_where_it_was_raised at the server")
