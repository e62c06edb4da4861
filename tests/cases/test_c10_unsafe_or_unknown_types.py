"""C10: the sender refuses an unserializable object with its path and type; a payload triggers no import."""

from __future__ import annotations

import subprocess
import sys

import pytest

import flare_fobs
from flare_core import JobFailed

SCRIPT = """
    from dataclasses import dataclass
    import numpy as np
    import flare_core.client as flare

    @dataclass
    class Note:
        text: str

    flare.init()
    while flare.is_running():
        params, meta = dict(flare.receive().params), {}
        if flare.get_site_name() == "site-2":
            {body}
        flare.send(flare.FLModel(params=params, meta=meta))
"""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('params["ragged"] = np.array([1, "a", None], dtype=object)', r"ragged.*object"),
        ('meta["note"] = Note("hello")', r"meta.*note.*Note"),
    ],
)
@pytest.mark.parametrize("external", [False, True])
def test_the_error_names_the_object_and_its_place_and_the_job_fails(project, body, message, external):
    recipe = project.recipe(SCRIPT.replace("{body}", body), launch_external_process=external)
    with pytest.raises(JobFailed, match=rf"(?s)site-2.*{message}"):
        recipe.execute(project.env())


def test_a_type_tag_is_looked_up_and_never_imported(tmp_path, monkeypatch):
    marker = tmp_path / "imported"
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    known = flare_fobs.dumps(complex(1, 2))
    assert b"complex" in known
    for name in (b"evil.py", b"Popen..", b"os.open"):  # of the length of "complex", so that the blob stays well-formed
        blob = known.replace(b"complex", name)
        with pytest.raises(flare_fobs.FobsError, match=name.decode().replace(".", r"\.")):
            flare_fobs.loads(blob)
    assert not marker.exists()
    assert "evil" not in sys.modules


def test_torch_tensors_reach_a_process_without_torch(tmp_path):
    torch = pytest.importorskip("torch")
    blob = tmp_path / "blob"
    blob.write_bytes(flare_fobs.dumps({"w": torch.arange(3, dtype=torch.bfloat16)}))
    code = f"""
import sys, flare_fobs
value = flare_fobs.loads(open({str(blob)!r}, "rb").read())["w"]
assert "torch" not in sys.modules
print(type(value).__name__, value.dtype, value.tolist())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["ndarray", "bfloat16", "[0.0,", "1.0,", "2.0]"]


@pytest.mark.parametrize("blob", [b"", b"\x00", b"FOB", b"\xff" * 64, flare_fobs.dumps([1, 2, 3])[:-1]])
def test_truncated_empty_and_random_bytes_raise_clean_errors(blob):
    with pytest.raises(flare_fobs.FobsError):
        flare_fobs.loads(blob)
