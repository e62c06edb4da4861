"""Collaborations by calls of functions."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest

from flare_core import FlareError, JobFailed, RecipeError
from nvflare.collab import CollabCallError, CollabRecipe, collab
from nvflare.collab.api import ContextKey
from nvflare.collab.calls import Call, Proxies, Proxy, handled
from nvflare.recipe import SimEnv

PARTS = """
    import threading

    import numpy as np

    from nvflare.collab import CollabCallError, collab
    from nvflare.collab.api import ContextKey


    class Site:
        def __init__(self, step=1.0):
            self.step = step

        @collab.init
        def first(self):
            self.notes = [f"first at {collab.site_name}"]

        @collab.init
        def after(self):
            self.notes.append("after")
            self.factor = collab.get_app_prop("factor", 1)

        @collab.publish
        def train(self, weights, round_, *, scale=1.0):
            assert collab.caller == "server" and collab.callee == collab.site_name, collab.call_info
            assert self.notes == [f"first at {collab.site_name}", "after"]
            return weights + self.step * self.factor * scale, {"round": (round_,)}

        @collab.publish
        def fail(self, at):
            if collab.site_name == at:
                raise ValueError("no data today")
            return "fine"

        @collab.publish
        def wait(self):
            threading.Event().wait(1)

        @collab.publish
        def greet_others(self):
            return {name: text for name, text in collab.other_clients.greeted()}

        @collab.publish
        def greeted(self):
            return f"{collab.site_name} greets {collab.caller}"

        @collab.publish
        def begin(self):
            collab.get_clients([collab.site_name])[0](expect_result=False).pass_on(collab.site_name)

        @collab.publish
        def pass_on(self, origin):
            collab.server(expect_result=False).told(origin)

        @collab.final
        def end(self):
            folder = collab.workspace.get_run_dir(collab.fl_ctx.get_job_id())
            with open(f"{folder}/end", "w") as file:
                file.write(collab.site_name)

        def secret(self):
            return 1


    class Extra:
        @collab.publish
        def twice(self, value):
            return 2 * value


    class Server:
        def __init__(self):
            self.seen = []
            self.tokens = []
            self.is_told = threading.Event()

        @collab.publish
        def told(self, origin):
            self.tokens.append((origin, collab.caller))
            self.is_told.set()

        @collab.main
        def run(self):
            assert collab.get_prop(ContextKey.RESULT) is None
            assert [each.name for each in collab.clients] == ["site-1", "site-2"]
            results = collab.clients.train(np.ones(2), 0, scale=2.0)
            values = {name: value[0].tolist() for name, value in results}
            assert values == {"site-1": [3.0, 3.0], "site-2": [7.0, 7.0]}, values
            assert results[0][1][1] == {"round": (0,)} and not results.failures

            collab.clients(process_resp_cb=self.came, more="x").train(np.zeros(1), 1)
            assert sorted(self.seen) == [("site-1", "x", 1.0), ("site-2", "x", 3.0)], self.seen
            stream = collab.clients(blocking=False, parallel=1).fail("site-2")
            assert list(stream) == [("site-1", "fine")]
            assert "no data today" in str(stream.failures["site-2"])

            one = collab.clients[1]
            assert collab.clients[0].greet_others() == {"site-2": "site-2 greets site-1"}
            assert one(target="extra").twice(21) == 42
            for call, words in (
                (lambda: one.secret(), "publishes no 'secret'"),
                (lambda: one(target="other").twice(1), "no object 'other'"),
                (lambda: one.fail("site-2"), "no data today"),
                (lambda: one(timeout=0.1).wait(), "wait failed"),
            ):
                try:
                    call()
                except CollabCallError as error:
                    assert error.site == "site-2" and words in str(error), error
                else:
                    raise AssertionError(words)
            collab.clients[0].begin()
            assert self.is_told.wait(20) and not collab.is_aborted
            assert self.tokens == [("site-1", "site-1")], self.tokens
            return "done"

        def came(self, response, value, more):
            self.seen.append((collab.caller, more, float(value[0][0])))

        @collab.final
        def end(self):
            assert collab.get_result() == "done"
"""
FUNCTIONS = """
    import sys

    from nvflare.collab import CollabRecipe, collab
    from nvflare.recipe import SimEnv


    @collab.publish
    def double(value):
        return 2 * value


    @collab.main
    def run():
        print("sum", sum(value for _, value in collab.clients.double(4)))


    if __name__ == "__main__":
        recipe = CollabRecipe("functions", min_clients=2)
        print(recipe.execute(SimEnv(num_clients=2, workspace_root=sys.argv[1])).get_status())
"""


@pytest.fixture
def parts(tmp_path, monkeypatch):
    (tmp_path / "collab_parts.py").write_text(textwrap.dedent(PARTS))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "collab_parts", raising=False)
    import collab_parts

    return collab_parts


def run(recipe, tmp_path, **env):
    return recipe.execute(SimEnv(**{"num_clients": 2, "workspace_root": str(tmp_path / "runs"), **env}))


def test_the_server_and_sites_call_each_other(parts, tmp_path):
    recipe = CollabRecipe("calls", parts.Server(), parts.Site(), client_objects={"extra": parts.Extra()}, min_clients=2)
    recipe.set_client_prop("factor", 1)
    recipe.set_per_site_config({"site-1": {}, "site-2": {"factor": 3}})
    done = run(recipe, tmp_path, num_clients=0, clients=recipe.configured_sites())
    assert done.get_status() == "FINISHED:COMPLETED"
    assert {each.read_text() for each in (tmp_path / "runs").rglob("end")} == {"site-1", "site-2"}
    with pytest.raises(RecipeError, match="the job is made already"):
        recipe.set_server_prop("late", 1)


def test_functions_of_the_launching_script_need_no_class(tmp_path):
    (tmp_path / "own.py").write_text(textwrap.dedent(FUNCTIONS))
    line = [sys.executable, "own.py", str(tmp_path / "runs")]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "sum 16" in done.stdout, done.stderr
    assert "FINISHED:COMPLETED" in done.stdout


class Nothing:
    pass


class Failing:
    @collab.main
    def run(self) -> None:
        collab.get_clients(["site-3"])


class Single:
    @collab.main
    def run(self) -> None:
        collab.get_clients("site-1")


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (Nothing(), "mark one with @collab.main"),
        (Failing(), "there is no site 'site-3'; the sites are site-1, site-2"),
        (Single(), r"takes a list of names; write \['site-1'\]"),
    ],
)
def test_an_error_of_the_server_fails_the_job(server, words, tmp_path):
    with pytest.raises(JobFailed, match=words):
        run(CollabRecipe("failing", server, Nothing(), min_clients=2), tmp_path)


def test_wrong_uses_are_errors_that_say_so():
    with pytest.raises(FlareError, match="only while a function of a collaboration runs"):
        collab.clients  # noqa: B018
    recipe = CollabRecipe("taken", Failing(), Nothing(), client_objects={"_client": Nothing()})
    assert recipe.configured_sites() == []
    assert CollabCallError("site-1", "train", OSError("full")).cause_type == "OSError"
    assert ContextKey.RESULT == "result"


@pytest.mark.parametrize("function", ["count", "index", "append", "failures"])
def test_functions_of_sites_may_be_called_like_those_of_lists(function):
    party = SimpleNamespace(call=lambda to, function, args, kwargs, options: (to, function, args))
    sites = Proxies(party, [Proxy(party, name) for name in ("site-1", "site-2")])
    expected = [(name, (name, function, ("people",))) for name in ("site-1", "site-2")]
    assert list(getattr(sites, function)("people")) == expected
    assert [each.name for each in sites] == ["site-1", "site-2"]
    assert Proxy(party, "site-2") in sites


def test_functions_of_sites_may_have_arguments_of_any_name():
    call = Call(SimpleNamespace(name="site-1"), "server", "site-1")
    assert handled(call, dict, call=1, function="sum") == {"call": 1, "function": "sum"}
