"""What the package imports, and what it does where torch is missing; each in a process of its own."""

from __future__ import annotations

import doctest
import importlib
import os
import subprocess
import sys

import pytest

import flare_fobs
from flare_fobs import dumps


def run(code, data=b""):
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_importing_the_package_imports_no_framework():
    code = (
        "import sys, flare_fobs;"
        "print({name.partition('.')[0] for name in sys.modules}"
        "& {'torch', 'ml_dtypes', 'tensorflow', 'pydantic', 'asyncio', 'grpc'})"
    )
    assert run(code).strip() == "set()"


def test_messages_without_exotic_dtypes_need_no_ml_dtypes():
    code = (
        "import sys, numpy, flare_fobs;"
        "flare_fobs.loads(flare_fobs.dumps([numpy.zeros(3), numpy.zeros(9000), (1, {2})]));"
        "print('ml_dtypes' in sys.modules)"
    )
    assert run(code).strip() == "False"


RECEIVE = """
import sys
{before}
import flare_fobs
for array in flare_fobs.loads(sys.stdin.buffer.read()):
    print(type(array).__module__, array.dtype, array.shape, array.tobytes()[:8].hex(), array.flags.writeable)
print(bool(sys.modules.get("torch")))
"""


@pytest.mark.parametrize(
    "before", ["", "sys.modules['torch'] = None  # cannot be imported"], ids=["unloaded", "missing"]
)
def test_c10_tensors_arrive_as_arrays_where_torch_is_not_loaded(before):
    torch = pytest.importorskip("torch")
    sent = [
        torch.tensor(1.0),
        torch.ones(3, dtype=torch.bfloat16),
        torch.ones(9000, dtype=torch.float8_e4m3fn),
        torch.ones((2, 2), dtype=torch.bool),
    ]
    assert run(RECEIVE.format(before=before), dumps(sent)).splitlines() == [
        "numpy float32 () 0000803f True",
        "numpy bfloat16 (3,) 803f803f803f True",
        "numpy float8_e4m3fn (9000,) 3838383838383838 True",
        "numpy bool (2, 2) 01010101 True",
        "False",
    ]


def test_msgpack_without_its_c_code_is_refused():
    done = subprocess.run(
        [sys.executable, "-c", "import flare_fobs"],
        stderr=subprocess.PIPE,
        timeout=60,
        env={**os.environ, "MSGPACK_PUREPYTHON": "1"},
    )
    assert done.returncode == 1
    assert b"msgpack runs without its C code" in done.stderr


def test_all_names_what_there_is():
    public = {name for name in vars(flare_fobs) if not name.startswith("_")}
    modules = {"dtypes", "errors", "tensors"}
    assert set(flare_fobs.__all__) == public - modules


@pytest.mark.parametrize("module", ["_codec", "_registry", "dtypes", "tensors"])
@pytest.mark.usefixtures("forget_registrations")
def test_examples_in_docstrings_are_true(module):
    result = doctest.testmod(importlib.import_module(f"flare_fobs.{module}"))
    assert result.attempted > 0
    assert result.failed == 0
