"""A device's loop: wait for a task, get the model, train or evaluate, send the answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flare_edge.device.client import Client, RunOver, Task
from flare_edge.device.filters import Filter
from flare_edge.device.work import Answer, Work, filtered

_log = logging.getLogger(__name__)


@dataclass
class Done:
    """The numbers of tasks that a device has done."""

    trained: int = 0
    evaluated: int = 0


def run_device(
    client: Client,
    work: Work,
    *,
    filters: Sequence[Filter] = (),
    max_tasks: int | None = None,
    on_answer: Callable[[Task, Answer], None] | None = None,
) -> Done:
    """Do tasks until the run is over, and return their numbers.

    An answer that the gateway has confirmed counts once, even if the device is killed just then. A device that is
    killed in mid-task is asked again for the same task when it comes back.

    Args:
        client: the connection to a gateway; the caller closes it.
        work: how to train and evaluate, e.g. a :class:`~flare_edge.device.work.ProgramWork`.
        filters: applied to each update before those that the run's configuration names.
        max_tasks: return after so many; None for no limit.
        on_answer: is called after each task.

    Raises:
        Exception: of the work or the filters; the gateway is told that this task failed.
        EdgeError: of the client: the device was refused, or the gateway cannot be reached.
    """
    done = Done()
    while max_tasks is None or done.trained + done.evaluated < max_tasks:
        try:
            task = client.next_task()
        except RunOver:
            return done
        answer = None if task is None else _answered(client, work, task, filters)
        if task is None or answer is None:
            continue
        if answer.update is None:
            done.evaluated += 1
        else:
            done.trained += 1
        _log.info("answered ticket=%d kind=%s version=%d", task.ticket, task.kind, task.version)
        if on_answer is not None:
            on_answer(task, answer)
        if (rest_s := float(task.config.get("rest_s", 0.0))) > 0:  # wished by the run's configuration
            time.sleep(rest_s)
    return done


def _answered(client: Client, work: Work, task: Task, filters: Sequence[Filter]) -> Answer | None:
    """Return what was sent for a task; None if the gateway has withdrawn it meanwhile."""
    try:
        params = client.model(task.version)
        found = work.train(params, task) if task.kind == "train" else work.evaluate(params, task)
        answer = filtered(found, task, filters)
        if answer.update is None:
            is_wanted = client.send_metrics(task.ticket, num_examples=answer.num_examples, metrics=answer.metrics)
        else:
            is_wanted = client.send_update(
                task.ticket, answer.update, num_examples=answer.num_examples, metrics=answer.metrics
            )
        return answer if is_wanted else None
    except RunOver:
        return None
    except Exception as error:
        # A version that is not kept any more, or another cause; of a task that was withdrawn it does not matter.
        if client.send_error(task.ticket, f"{type(error).__name__}: {error}"):
            raise
        return None
