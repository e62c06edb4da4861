"""Errors for a missing TensorFlow and for other Keras backends, and independence of torch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

REPORT = "try: import flare_recipes_tf\nexcept Exception as error: print(type(error).__mro__, error)\n"
MISSING = "import sys; sys.modules.update(tensorflow=None)\n"


def run(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_error_for_a_missing_tensorflow_says_what_to_install():
    # None in sys.modules makes an import fail like that of a missing package.
    printed = run(MISSING + REPORT)
    assert "pip install 'flare-recipes-tf[cpu]'" in printed
    assert "FlareError" in printed
    assert "ImportError" in printed


@pytest.mark.slow
def test_another_backend_is_refused(tmp_path):
    fake = tmp_path / "keras.py"
    fake.write_text("class backend:\n    backend = staticmethod(lambda: 'jax')\n")
    printed = run(f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + REPORT)
    assert "Keras runs on jax, but flare_recipes_tf needs TensorFlow" in printed
    assert "KERAS_BACKEND=tensorflow" in printed


@pytest.mark.slow
def test_torch_is_not_imported_even_if_installed(tmp_path):
    (tmp_path / "torch.py").write_text("raise AssertionError('torch was imported')\n")
    program = "import sys, keras; from flare_recipes_tf import get_params; assert 'torch' not in sys.modules; print(1)"
    assert run(f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{program}") == "1\n"
