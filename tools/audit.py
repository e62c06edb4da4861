"""Check an environment for known vulnerabilities and incompatible licences: audit.py SITE_PACKAGES."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

# Licences of dependencies that are compatible with Apache-2.0.
COMPATIBLE = re.compile(
    r"apache|bsd|mit\b|mit-|isc|psf|python software|hpnd|zlib|unlicense|public domain|cc0|0bsd|mpl|mozilla|lgpl|lesser",
    re.IGNORECASE,
)
OWN = "flare-"


def licence_of(distribution: Distribution) -> str:
    """Return a distribution's licence, in one line."""
    metadata = distribution.metadata
    if expression := metadata.get("License-Expression"):
        return expression
    classifiers = [each.rpartition(":: ")[2] for each in metadata.get_all("Classifier") or () if "License ::" in each]
    if classifiers:
        return "; ".join(classifiers)
    return (metadata.get("License") or "unknown").strip().splitlines()[0][:60]


def check_licences(folder: str) -> list[str]:
    """Print a table of licences; return the distributions whose licence needs a review."""
    found = {each.metadata["Name"]: each for each in distributions(path=[folder])}
    doubtful = []
    for name in sorted(found, key=str.lower):
        if name.lower().startswith(OWN):
            continue
        licence = licence_of(found[name])
        is_compatible = COMPATIBLE.search(licence) is not None
        if not is_compatible:
            doubtful.append(name)
        print(f"{name:<32} {found[name].version:<16} {licence}{'' if is_compatible else '   <- review'}")
    return doubtful


def check_vulnerabilities(folder: str) -> bool:
    """Query vulnerability databases; return True if one answered and knows of no vulnerability."""
    for service in ("pypi", "osv"):
        command = [sys.executable, "-m", "pip_audit", "--path", folder, "-s", service, "-f", "json", "--timeout", "15"]
        done = subprocess.run([*command, "--progress-spinner", "off"], capture_output=True, text=True)
        try:
            found = json.loads(done.stdout)["dependencies"]
        except (ValueError, KeyError):
            reason = (done.stderr.strip() or "no error message").splitlines()[-1][:200]
            print(f"{service} gave no answer: {reason}", file=sys.stderr)
            continue
        others = [each for each in found if not each["name"].startswith(OWN)]
        unknown = [each["name"] for each in others if "skip_reason" in each]
        if len(unknown) == len(others):
            print(f"{service} gave no answer for any of {len(others)} distributions", file=sys.stderr)
            continue
        return _report(others, unknown)
    print(
        "No vulnerability database could be reached; run 'tools/dev audit' on a machine that can reach one, or set"
        " HTTPS_PROXY.",
        file=sys.stderr,
    )
    return False


def _report(found: list[dict[str, Any]], unknown: list[str]) -> bool:
    for each in found:
        for weakness in each.get("vulns", ()):
            print(
                f"{each['name']} {each['version']}: {weakness['id']}, fixed in {weakness['fix_versions'] or 'nothing'}"
            )
    if unknown:
        print(f"not in the database: {', '.join(unknown)}", file=sys.stderr)
    return not unknown and not any(each.get("vulns") for each in found)


def main() -> int:
    """Run both checks; the exit code is 1 if either needs a review."""
    folder = str(Path(sys.argv[1]).resolve())
    doubtful = check_licences(folder)
    is_clean = check_vulnerabilities(folder)
    if doubtful:
        print(f"licences to review: {', '.join(doubtful)}", file=sys.stderr)
    return 0 if is_clean and not doubtful else 1


if __name__ == "__main__":
    sys.exit(main())
