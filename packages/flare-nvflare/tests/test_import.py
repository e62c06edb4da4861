"""What `import nvflare` costs, and beside what it refuses to be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = ("torch", "tensorflow", "sklearn", "xgboost", "flwr", "pandas", "pydantic", "grpc", "lightning")


def run(code: str, *extra_paths: Path) -> subprocess.CompletedProcess[str]:
    paths = [*map(str, extra_paths), *sys.path]
    program = f"import sys; sys.path[:] = {paths!r}; {code}"
    return subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, timeout=60)


def test_importing_the_package_and_its_everyday_modules_brings_no_framework():
    done = run(
        "import nvflare, nvflare.client, nvflare.recipe, nvflare.client.tracking, nvflare.client.config;"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_the_real_nvflare_beside_it_is_refused_with_the_remedy(tmp_path):
    metadata = tmp_path / "nvflare-2.7.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: nvflare\nVersion: 2.7.2\n")
    done = run("import nvflare", tmp_path)
    assert done.returncode == 1
    assert "TwoNvflareError: nvflare 2.7.2 and flare-nvflare are both installed" in done.stderr
    assert "pip uninstall -y nvflare flare-nvflare" in done.stderr
