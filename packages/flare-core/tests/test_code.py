"""Collection of the files that a script needs."""

from __future__ import annotations

import pytest

from flare_core import RecipeError
from flare_core.code import MAX_DATA_BYTES, collect_code, find_script


@pytest.fixture
def project(tmp_path):
    files = {
        "job.py": "import models.net\n",
        "models/net.py": "class Net: ...\n",
        "common/__init__.py": "",
        "common/util.py": "from .deep import thing\n",
        "common/deep/__init__.py": "from ..other import x\n",
        "common/other.py": "x = 1\n",
        "common/unused.py": "",
        "src/client.py": "import json, numpy, net2\nfrom common import util\nfrom . import x\nimport src.helper\n",
        "src/net2.py": "from common.util import thing\n",
        "src/x.py": "",
        "src/helper.py": "",
        "src/labels.txt": "a b c",
        "src/weights.pt": "big",
        "unrelated.py": "",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


def names(bundle):
    return [str(place) for place in bundle.files]


def test_imports_are_resolved_next_to_the_script_and_from_the_root(project):
    bundle = collect_code([project / "src/client.py"], project)
    assert bundle.root == project
    assert names(bundle) == [
        "common/__init__.py",
        "common/deep/__init__.py",
        "common/other.py",
        "common/util.py",
        "src/client.py",
        "src/helper.py",
        "src/labels.txt",
        "src/net2.py",
        "src/x.py",
    ]


def test_a_script_elsewhere_has_its_own_folder_as_root(project, tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "client.py").write_text("import tool\n")
    (folder / "tool.py").write_text("")
    bundle = collect_code([folder / "client.py"], project)
    assert (bundle.root, names(bundle)) == (folder, ["client.py", "tool.py"])


def test_large_data_is_not_collected(project):
    (project / "src/table.csv").write_bytes(b"0" * (MAX_DATA_BYTES + 1))
    assert "src/table.csv" not in names(collect_code([project / "src/client.py"], project))


def test_a_script_with_a_syntax_error_is_collected(project):
    (project / "src/client.py").write_text("def f(:\n")
    assert "src/client.py" in names(collect_code([project / "src/client.py"], project))


def test_an_import_cycle_ends(project):
    (project / "src/x.py").write_text("import client\n")
    assert "src/x.py" in names(collect_code([project / "src/client.py"], project))


def test_the_folder_of_the_recipe_is_searched_before_the_working_directory(project, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("cwd")
    (elsewhere / "client.py").write_text("")
    monkeypatch.chdir(elsewhere)
    assert find_script("client.py", project / "src") == project / "src/client.py"
    assert find_script("client.py", project) == elsewhere / "client.py"


def test_the_error_for_a_missing_script_lists_the_paths_tried(project):
    with pytest.raises(RecipeError, match=r"train_script 'no.py' does not exist; looked for .*no\.py and .*no\.py"):
        find_script("no.py", project)


SECRETS = ["server.key", "id_rsa", "my_credentials.json", "secrets.yaml", "prod.env", "API_KEY.txt", "passwords.csv"]
HARMLESS = ["tokenizer.json", "keys.csv", "secretary.txt", "labels.txt"]


def test_files_that_look_like_secrets_are_left_out_with_a_warning(project, caplog):
    for name in (*SECRETS, *HARMLESS):
        (project / "src" / name).write_text("x")
    (project / "src/login").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n")
    (project / "src/note.txt").write_text("flare1-eNqrVkrOz81NLVayUlDKSS1W0lFQ")
    found = names(collect_code([project / "src/client.py"], project))
    assert {f"src/{name}" for name in HARMLESS} <= set(found)
    for name in (*SECRETS, "login", "note.txt"):
        assert f"src/{name}" not in found
        assert f"src/{name} looks like a secret" in caplog.text


def test_notebooks_and_hidden_files_are_left_out(project):
    for name in (".env", ".netrc", "_cache.txt", "explore.ipynb", "notes.txt~", "old.txt.bak"):
        (project / "src" / name).write_text("x")
    assert "src/labels.txt" in names(collect_code([project / "src/client.py"], project))
    assert len(names(collect_code([project / "src/client.py"], project))) == 9  # as without them


def test_a_link_out_of_the_root_is_left_out_unless_it_is_imported(project, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "patients.csv").write_text("a,b")
    (elsewhere / "shared.py").write_text("import x\n")
    (project / "src/patients.csv").symlink_to(elsewhere / "patients.csv")
    (project / "src/net2.py").unlink()
    (project / "src/net2.py").symlink_to(elsewhere / "shared.py")
    found = names(collect_code([project / "src/client.py"], project))
    assert "src/patients.csv" not in found
    assert {"src/net2.py", "src/x.py"} <= set(found)


def test_files_next_to_a_script_in_the_home_folder_are_left_out(project, monkeypatch):
    (project / "client.py").write_text("import unrelated\n")
    (project / "taxes.txt").write_text("x")
    assert "taxes.txt" in names(collect_code([project / "client.py"], project))
    for home in (project, project / "src"):
        monkeypatch.setenv("HOME", str(home))
        assert names(collect_code([project / "client.py"], project)) == ["client.py", "unrelated.py"]


def test_a_folder_with_too_many_files_is_rejected(project):
    for number in range(65):
        (project / f"src/{number}.bin").write_bytes(bytes(MAX_DATA_BYTES))
    with pytest.raises(
        RecipeError, match=r"66 files of 65 MiB in total are next to .*client\.py and would be sent to the server"
    ):
        collect_code([project / "src/client.py"], project)
