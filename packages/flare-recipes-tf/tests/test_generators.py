"""TensorFlow's generator belongs to the script that has the turn, and a script that is started anew goes on with it."""

from __future__ import annotations

import tensorflow as tf

from flare_fobs import dumps, loads
from flare_runtime.scripts import generators


def draw(count: int = 3) -> list[float]:
    return [float(tf.random.uniform(())) for _ in range(count)]


def test_scripts_that_take_turns_draw_what_each_would_draw_alone():
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


def test_states_can_be_written_down_and_read_in_another_process():
    generators.restore({}, 1)
    draw()
    written = dumps(generators.read_all())
    wanted = draw()
    generators.restore({}, 2)
    generators.write_all(loads(written))
    assert draw() == wanted
