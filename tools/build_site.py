"""Build the documentation site from the README files, docs/ and the docstrings.

Usage: build_site.py [folder], by default site/. Broken links are errors.

Pages keep their paths in the repository, so relative links work; a link to a folder becomes a link to its README.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\((?!https?:|#|mailto:)(?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
ROLE = re.compile(r":(?:attr|class|exc|func|meth|mod):<code>(~[\w.]*?(?=\w+</code>))?")
COPIED = {".md", ".py", ".ipynb", ".svg", ".png", ".json", ".yml", ""}
PAGES = (
    "README",
    "start",
    "data",
    "weights",
    "metrics",
    "choosing",
    "optimizers",
    "traffic",
    "extending",
    "client-api",
    "notebooks",
    "continuing",
    "comparing-runs",
    "operating",
)
GUIDES = (
    "deployment",
    "security",
    "recipes",
    "statistics",
    "xgboost",
    "psi",
    "edge",
    "edge-devices",
    "edge-gateways",
    "edge-simulation",
    "migration",
    "performance",
    "architecture",
    "wire",
    "mutants",
)
REFERENCE = {
    "flare_core": ("flare_core", "flare_core.client", "flare_core.workflows", "flare_core.recipes"),
    "flare_fobs": ("flare_fobs",),
    "flare_transport": ("flare_transport",),
    "flare_tensor_downloader": ("flare_tensor_downloader",),
    "flare_runtime": ("flare_runtime.simulator.environment", "flare_runtime.simulator.simulation"),
    "flare_deploy": ("flare_deploy.poc", "flare_deploy.prod", "flare_deploy.admin"),
    "flare_edge": ("flare_edge.recipe", "flare_edge.et_recipe", "flare_edge.fedbuff", "flare_edge.device.client"),
    "flare_flower": ("flare_flower",),
    "flare_psi": ("flare_psi", "flare_psi.ids"),
    "flare_recipes_np": ("flare_recipes_np",),
    "flare_recipes_pt": ("flare_recipes_pt",),
    "flare_recipes_sklearn": ("flare_recipes_sklearn",),
    "flare_recipes_tf": ("flare_recipes_tf",),
    "flare_stats": ("flare_stats", "flare_stats.sources"),
    "flare_xgb": ("flare_xgb", "flare_xgb.data", "flare_xgb.vertical"),
}


def main(arguments: list[str]) -> int:
    target = Path(arguments[0] if arguments else "site").absolute()
    with tempfile.TemporaryDirectory() as folder:
        pages = Path(folder, "pages")
        collect(pages)
        Path(folder, "mkdocs.yml").write_text(yaml.safe_dump(settings(pages), sort_keys=False, allow_unicode=True))
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(target)]
        code = subprocess.run(command, cwd=folder, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}).returncode
    if code == 0:
        print(f"{len(list(target.rglob('*.html')))} pages in {target}; open {target / 'index.html'}")
    return code


def collect(pages: Path) -> None:
    """Copy all pages and the files they link to, and write the reference pages."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        source = ROOT / name
        if name.split("/")[0] in ("packages", "tests") and source.suffix != ".md":
            continue
        if source.suffix in COPIED and source.is_file() and not name.startswith("."):
            place = pages / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if source.suffix == ".md":
                place.write_text(with_pages_for_folders(source), encoding="utf-8")
            else:
                shutil.copyfile(source, place)
    (pages / "reference").mkdir()
    for package, modules in REFERENCE.items():
        lines = [f"# {package}", *(f"\n::: {module}\n" for module in modules)]
        (pages / "reference" / f"{package}.md").write_text("\n".join(lines))


def with_pages_for_folders(source: Path) -> str:
    """Return a page's text with links to folders replaced by links to their README.md."""

    def linked(match: re.Match[str]) -> str:
        place = source.parent / match["target"]
        target = f"{match['target'].rstrip('/')}/README.md" if (place / "README.md").is_file() else match["target"]
        return f"]({target}{match['anchor'] or ''})"

    return LINK.sub(linked, source.read_text(encoding="utf-8"))


def on_page_content(html: str, **_: Any) -> str:
    """Remove Sphinx roles from a page; mkdocs calls this hook."""
    return ROLE.sub("<code>", html)


def settings(pages: Path) -> dict[str, Any]:
    options = {
        "members_order": "source",
        "merge_init_into_class": True,
        "separate_signature": True,
        "show_signature_annotations": True,
        "show_root_heading": True,
        "show_root_full_path": True,
        "show_source": False,
        "show_submodules": False,
        "docstring_options": {"warn_unknown_params": False},
    }
    return {
        "site_name": "Flare",
        "docs_dir": "pages",
        "hooks": [str(Path(__file__).resolve())],
        "use_directory_urls": False,  # so that the files can be opened without a server
        "nav": navigation(pages),
        "theme": {"name": "material", "font": False, "features": ["navigation.indexes", "toc.follow"]},
        "plugins": [
            "search",
            {
                "mkdocstrings": {
                    "handlers": {
                        "python": {"paths": [str(path) for path in ROOT.glob("packages/*/src")], "options": options}
                    }
                }
            },
        ],
        "markdown_extensions": ["tables", "fenced_code", "pymdownx.superfences", {"pymdownx.highlight": {}}],
        "validation": {"omitted_files": "ignore", "absolute_links": "warn", "unrecognized_links": "warn"},
    }


def navigation(pages: Path) -> list[dict[str, Any]]:
    guides = [f"docs/{name}.md" for name in GUIDES if (pages / "docs" / f"{name}.md").is_file()]
    return [
        {"Flare": "README.md"},
        {"Guide": [f"docs/guide/{name}.md" for name in PAGES]},
        {"Topics": guides},
        {"Examples": [str(path.relative_to(pages)) for path in sorted(pages.glob("examples/*/*/README.md"))]},
        {"Packages": [str(path.relative_to(pages)) for path in sorted(pages.glob("packages/*/README.md"))]},
        {"Reference": [f"reference/{package}.md" for package in REFERENCE]},
        {"Decisions": [str(path.relative_to(pages)) for path in sorted(pages.glob("docs/decisions/*.md"))]},
        {"Contributing": ["CONTRIBUTING.md", "CHANGELOG.md"]},
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
