"""TensorFlow's random generator is switched between scripts in one process and restored in a restarted script."""

from __future__ import annotations

import tensorflow as tf

from flare_fobs import dumps, loads
from flare_runtime.scripts import generators


def draw(count: int = 3) -> list[float]:
    return [float(tf.random.uniform(())) for _ in range(count)]


def test_scripts_that_take_turns_draw_the_same_numbers_as_alone():
    generators.restore({}, 1)
    alone = draw(6)
    generators.restore({}, 1)
    drawn = draw()
    first = generators.keep()
    generators.restore({}, 2)
    other = draw()
    generators.restore(first, 1)
    assert drawn + draw() == alone
    assert other != drawn


def test_states_can_be_serialized_and_restored():
    generators.restore({}, 1)
    draw()
    written = dumps(generators.keep())
    wanted = draw()
    generators.restore({}, 2)
    generators.go_back(loads(written), 1)
    assert draw() == wanted
