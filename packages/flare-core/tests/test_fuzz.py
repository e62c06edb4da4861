"""Job folders that were tampered with: loading gives a job or a JobError, and imports nothing."""

from __future__ import annotations

import copy
import json
import sys
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flare_core import Job, JobError
from flare_core.job_folder import load_job

META = {
    "name": "hello",
    "min_clients": 2,
    "deploy_map": {"app": ["@ALL"], "app_site-1": ["site-1"]},
    "resource_spec": {"site-1": {"num_of_gpus": 1}},
    "seed": 3,
    "server_files": ["initial.safetensors"],
}
SERVER = {
    "format_version": 2,
    "workflows": [{"id": "w", "path": "evil_module.Workflow", "args": {"num_rounds": 2}}],
    "components": [{"id": "persistor", "path": "evil_module.Persistor", "args": {}}],
    "task_data_filters": [{"tasks": ["train"], "filters": [{"path": "evil_module.Filter", "args": {}}]}],
}
CLIENT = {
    "format_version": 2,
    "executors": [{"tasks": ["*"], "executor": {"path": "evil_module.Executor", "args": {"script": "client.py"}}}],
    "task_result_filters": [],
}
FILES = {
    "meta.json": META,
    "app/config/config_fed_server.json": SERVER,
    "app/config/config_fed_client.json": CLIENT,
    "app_site-1/config/config_fed_client.json": CLIENT,
}
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["../../etc", "/etc/passwd", "@ALL", "server", "\0", "a" * 300]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(value, path=()):
    """Yield the path of every value in a JSON document."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def changed(document, path, value):
    """Return a document with the value at one path replaced."""
    if not path:
        return value
    document = copy.deepcopy(document)
    holder = document
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return document


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    (folder / "app" / "custom").mkdir(exist_ok=True)
    (folder / "app" / "custom" / "client.py").write_text("raise SystemExit('was run')")


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fuzz_a_changed_job_folder_is_a_job_or_a_job_error(tmp_path, data):
    file = data.draw(st.sampled_from(sorted(FILES)))
    place = data.draw(st.sampled_from(list(places(FILES[file]))))
    write(tmp_path, {**FILES, file: changed(FILES[file], place, data.draw(values))})
    before = set(sys.modules)
    with suppress(JobError):
        assert isinstance(load_job(tmp_path), Job)
    assert set(sys.modules) == before


@given(
    content=st.binary(max_size=60) | st.sampled_from([b"[" * 100_000, b'{"a":' * 50_000, b"1" * 10_000, b"\xff\xfe"])
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fuzz_any_bytes_in_place_of_json_are_a_job_error(tmp_path, content):
    write(tmp_path, FILES)
    (tmp_path / "app/config/config_fed_server.json").write_bytes(content)
    with suppress(JobError):
        assert content.strip().startswith(b"{"), load_job(tmp_path)


def test_the_folder_that_is_changed_is_a_job(tmp_path):
    write(tmp_path, FILES)
    assert load_job(tmp_path).name == "hello"


def test_a_link_to_a_file_elsewhere_does_not_become_a_part_of_the_job(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("key")
    write(tmp_path / "job", FILES)
    (tmp_path / "job" / "app" / "custom" / "data.txt").symlink_to(secret)
    with pytest.raises(JobError, match=r"data.txt is a link that leads out of the job"):
        load_job(tmp_path / "job")
