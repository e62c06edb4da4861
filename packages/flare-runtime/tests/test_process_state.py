"""Modules and random generators of scripts that share a process."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


TWO_SCRIPTS = """
    import io, sys, types
    from pathlib import Path
    from flare_runtime.scripts.process_state import ProcessState, modules_below

    folder = Path(sys.argv[1])
    ProcessState.prepare([folder], modules_below([folder]))
    states = []
    for name in ("a", "b"):
        state = ProcessState(folder=folder, roots=[folder], output=sys.stdout, seed=0, channel=None)
        state.enter()
        state.start_script(folder / name / "client.py", [], types.ModuleType("__main__"))
        states.append(state)
"""


def test_scripts_have_separate_modules_of_the_same_name(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "helper.py").write_text(f"NAME = {name!r}\n")
    output = run(
        textwrap.dedent(TWO_SCRIPTS)
        + textwrap.dedent("""
            for state in [*states, *states]:
                state.enter()
                import helper
                print(helper.NAME)
            """),
        str(tmp_path),
    )
    assert output.split() == ["a", "b", "a", "b"]


def test_installed_packages_are_shared_and_not_hidden_by_folders(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "json").mkdir()  # a folder of data, not a package
    output = run(
        textwrap.dedent(TWO_SCRIPTS)
        + textwrap.dedent("""
            found = []
            for state in states:
                state.enter()
                sys.modules.pop("colorsys", None) if state is states[0] else None
                import colorsys, json
                found.append(colorsys)
                print(json.dumps(1))
            print(found[0] is found[1])
            """),
        str(tmp_path),
    )
    assert output.split() == ["1", "1", "True"]


def test_generators_start_from_the_seed_and_continue_where_they_were(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    output = run(
        textwrap.dedent(TWO_SCRIPTS)
        + textwrap.dedent("""
            import random
            import numpy as np
            drawn = {}
            for state in [*states, *states]:
                state.enter()
                drawn.setdefault(id(state), []).append((random.random(), np.random.random()))
            first, second = drawn.values()
            print(first == second, first[0] != first[1])
            """),
        str(tmp_path),
    )
    assert output.split() == ["True", "True"]


def test_interleaved_scripts_draw_what_each_would_draw_alone(tmp_path):
    """Scripts may be interleaved anywhere, even after the first of a pair of normally distributed numbers."""
    for name in "ab":
        (tmp_path / name).mkdir()
    output = run(
        textwrap.dedent(TWO_SCRIPTS)
        + textwrap.dedent("""
            import numpy as np
            draws = [lambda: 0.0, np.random.random, np.random.standard_normal, np.random.standard_normal]
            order = np.random.default_rng(0).integers(0, 4, 200)
            drawn = {0: [], 1: []}
            alone = np.random.default_rng(1).integers(0, 2, 200)
            for kind, who in zip(order, alone):
                states[who].enter()
                drawn[who].append(draws[kind]())
            for who in (0, 1):
                expected = np.random.RandomState(states[who].seed)
                same = [lambda: 0.0, expected.random, expected.standard_normal, expected.standard_normal]
                print(drawn[who] == [same[kind]() for kind, mine in zip(order, alone) if mine == who])
            """),
        str(tmp_path),
    )
    assert output.split() == ["True", "True"]


def test_interleaved_scripts_draw_from_random_what_each_would_draw_alone(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    output = run(
        textwrap.dedent(TWO_SCRIPTS)
        + textwrap.dedent("""
            import random
            which = random.Random(3)
            order = [(which.randrange(5), which.randrange(2)) for _ in range(3000)]
            drawn = {0: [], 1: []}
            def draws(generator):  # gauss makes two numbers and has one in store
                return [lambda: 0, generator.random, lambda: generator.gauss(0, 1), lambda: generator.randrange(10),
                        lambda: generator.sample(range(9), 4)]
            shared = draws(random)
            for kind, who in order:
                states[who].enter()
                drawn[who].append(shared[kind]())
            for who in (0, 1):
                same = draws(random.Random(states[who].seed))
                print(drawn[who] == [same[kind]() for kind, mine in order if mine == who])
            """),
        str(tmp_path),
    )
    assert output.split() == ["True", "True"]


def test_a_generator_of_another_kind_belongs_to_the_script_that_chose_it(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    output = run(
        textwrap.dedent(TWO_SCRIPTS)
        + textwrap.dedent("""
            import numpy as np
            states[0].enter()
            np.random.set_bit_generator(np.random.PCG64(3))
            states[1].enter()
            print(np.random.random() == np.random.RandomState(states[1].seed).random())
            states[0].enter()
            print(type(np.random.get_bit_generator()).__name__)
            """),
        str(tmp_path),
    )
    assert output.split() == ["True", "PCG64"]
