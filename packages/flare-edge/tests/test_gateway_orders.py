"""The gateway without HTTP: orders in, batches out, each result once, whatever is killed in between."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from flare_edge.device.safetensors import dumps
from flare_edge.errors import EdgeError
from flare_edge.fixed_point import Scale
from flare_edge.gateway.gateway import Closed, Gateway
from flare_edge.gateway.results import Over, Refused, Result, json_result, train_result
from flare_edge.gateway.settings import GatewaySettings
from flare_edge.messages import Order

SCALE = Scale.for_norm(100.0)
MODEL = {"w": np.zeros(3, np.float32), "b": np.zeros((), np.float32)}


def make(folder: Path, **settings: object) -> Gateway:
    gateway = Gateway("gw-1", folder, GatewaySettings(), SCALE, {"lr": 0.1}, **settings)  # type: ignore[arg-type]
    gateway.set_model(0, MODEL)
    return gateway


def order(ticket: int, device: str | None = None, version: int = 0, kind: str = "train") -> Order:
    return Order(ticket, "gw-1", device or f"gw-1/{ticket}", version, kind)


def update(value: float, num_examples: int = 1, metrics: str = "{}") -> Result:
    tensors = {"w": np.full(3, value, np.float32), "b": np.array(value, np.float32)}
    body = dumps(tensors, {"num_examples": str(num_examples), "metrics": metrics})
    return train_result(body, MODEL, SCALE)


def test_results_of_answered_orders_are_one_batch(tmp_path):
    gateway = make(tmp_path)
    gateway.give([order(1), order(2), order(3)])
    gateway.report("gw-1/1", 1, update(1.0, 2, '{"loss": 0.5}')).result(5)
    gateway.report("gw-1/2", 2, update(-0.5, 4, '{"loss": 0.25}')).result(5)
    gateway.report("gw-1/3", 3, json_result(b'{"error": "no battery"}')).result(5)
    while (report := gateway.next_report()).batch is None:
        assert report.number == 0
    batch = report.batch
    assert (report.number, dict(batch.leaves), sorted(batch.done)) == (1, {"gw-1": 1}, [1, 2])
    assert batch.failed == {3: "no battery"}
    assert (batch.sums[0].weight, batch.sums[0].count, batch.sums[0].metrics) == (6, 2, {"loss": (2.0, 6)})
    np.testing.assert_array_equal(SCALE.decode(batch.sums[0].total, 1.0)["w"], np.zeros(3))
    assert gateway.open_tickets() == []
    gateway.close()


def test_a_batch_is_made_after_a_while_though_orders_are_open(tmp_path):
    gateway = make(tmp_path, update_timeout_s=0.05)
    gateway.give([order(1), order(2)])
    gateway.report("gw-1/1", 1, update(1.0)).result(5)
    reports = [gateway.next_report()]
    while reports[-1].batch is None:
        reports.append(gateway.next_report())
    assert list(reports[-1].batch.done) == [1]
    assert [each.ticket for each in gateway.open_tickets()] == [2]
    gateway.close()


def test_evaluations_add_to_the_metrics_of_their_version(tmp_path):
    gateway = make(tmp_path)
    gateway.give([order(1), order(2, kind="evaluate")])
    gateway.report("gw-1/1", 1, update(1.0, 2, '{"loss": 0.5}')).result(5)
    gateway.report("gw-1/2", 2, json_result(b'{"num_examples": 5000, "metrics": {"loss": 0.25}}')).result(5)
    batch = batch_of(gateway)
    assert (batch.sums[0].weight, batch.sums[0].count, list(batch.done)) == (2, 1, [1, 2])
    assert batch.sums[0].metrics == {"loss": (257.0, 1026)}
    gateway.close()


def test_a_waiting_device_is_woken_by_an_order(tmp_path):
    gateway = make(tmp_path)
    woken = threading.Event()
    assert gateway.poll("gw-1/a", woken.set) is None
    assert gateway.next_report().joined == ["gw-1/a"]
    gateway.give([order(7, "gw-1/a")])
    assert woken.wait(5)
    assert gateway.poll("gw-1/a") == order(7, "gw-1/a")
    assert gateway.poll("gw-1/a") == order(7, "gw-1/a")  # its tab was closed, and opened again
    gateway.close()


def test_a_result_counts_once_and_another_is_refused(tmp_path):
    gateway = make(tmp_path)
    gateway.give([order(1)])
    for _ in range(3):
        gateway.report("gw-1/1", 1, update(1.0)).result(5)
    with pytest.raises(Refused) as refused:
        gateway.report("gw-1/1", 1, update(2.0))
    assert refused.value.status == 409
    assert gateway.answered() == [order(1)]
    with pytest.raises(Refused) as refused:
        gateway.report("gw-1/2", 1, update(1.0))
    assert refused.value.status == 404
    gateway.give([order(1)])
    assert gateway.open_tickets() == []
    gateway.close()


def test_another_devices_ticket_and_withdrawn_tickets_are_refused(tmp_path):
    gateway = make(tmp_path)
    gateway.give([order(1), order(2)])
    with pytest.raises(Refused, match="another device's"):
        gateway.report("gw-1/2", 1, update(1.0))
    gateway.withdraw([1])
    gateway.give([order(1)])
    with pytest.raises(Refused, match="withdrawn"):
        gateway.report("gw-1/1", 1, update(1.0))
    with pytest.raises(Refused, match="is to train"):
        gateway.report("gw-1/2", 2, json_result(b'{"num_examples": 1, "metrics": {}}'))
    gateway.close()


def test_after_a_restart_batches_and_results_are_there_again(tmp_path):
    gateway = make(tmp_path)
    gateway.give([order(1), order(2), order(3)])
    for ticket in (1, 2):
        gateway.report(f"gw-1/{ticket}", ticket, update(ticket / 3, 2, '{"loss": 0.1}')).result(5)
    gateway.withdraw([3])
    first = batch_of(gateway)
    gateway.give([order(4), order(5)])
    gateway.report("gw-1/4", 4, update(0.7)).result(5)
    gateway.close()

    again = make(tmp_path)
    [(number, restored)] = again.unacknowledged()
    assert (number, restored.as_data()["sums"].keys()) == (1, {"0"})
    assert_same(restored, first)
    again.report("gw-1/4", 4, update(0.7)).result(5)  # its answer was lost
    again.give([order(4), order(5)])  # from a parent that does not know yet
    again.report("gw-1/5", 5, update(0.1)).result(5)
    second = batch_of(again)
    assert (sorted(second.done), dict(second.leaves)) == ([4, 5], {"gw-1": 2})
    assert [each.ticket for each in again.answered()] == [1, 2, 4, 5]
    again.acknowledge(2)
    assert again.answered() == []
    again.close()

    last = make(tmp_path)
    assert last.unacknowledged() == []
    assert list((tmp_path / "journal").glob("results-*")) == []
    last.report("gw-1/5", 5, update(0.1)).result(5)  # even now
    last.give([order(6)])
    last.report("gw-1/6", 6, update(0.1)).result(5)
    assert dict(batch_of(last).leaves) == {"gw-1": 3}
    last.close()


def test_files_stay_until_all_their_results_are_acknowledged(tmp_path):
    gateway = make(tmp_path, update_timeout_s=0.01)
    gateway.give([order(1), order(2)])
    gateway.report("gw-1/1", 1, update(0.1)).result(5)
    first = batch_of(gateway)
    gateway.report("gw-1/2", 2, update(0.2)).result(5)
    gateway.acknowledge(1)
    gateway.close()
    again = make(tmp_path)
    second = batch_of(again)
    assert (list(first.done), list(second.done), dict(second.leaves)) == ([1], [2], {"gw-1": 2})
    again.close()


@pytest.mark.parametrize("cut", [1, 7, 8, 9, 60])
def test_a_record_that_was_not_written_to_its_end_is_dropped(tmp_path, cut):
    gateway = make(tmp_path)
    gateway.give([order(1), order(2)])
    gateway.report("gw-1/1", 1, update(0.1)).result(5)
    [path] = (tmp_path / "journal").glob("results-*")
    size = path.stat().st_size
    gateway.report("gw-1/2", 2, update(0.2)).result(5)
    gateway.close()
    path.write_bytes(path.read_bytes()[: size + cut])
    again = make(tmp_path)
    assert list(batch_of(again).done) == [1]
    again.close()


NO_ROOM = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from gateways import batch_of, make, order, update, SCALE, MODEL
from flare_edge.gateway.results import Refused, train_result

gateway = make(Path(sys.argv[2]))
gateway.give([order(1), order(2)])
results = [train_result(update(number), MODEL, SCALE) for number in (1, 2)]
gateway.report("gw-1/1", 1, results[0]).result(5)
[file] = Path(sys.argv[2]).glob("journal/results-*")
resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 100, resource.RLIM_INFINITY))
try:
    gateway.report("gw-1/2", 2, results[1]).result(5)
except Refused as refused:
    print(refused.status, refused.code, [each.ticket for each in gateway.open_tickets()])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
gateway.report("gw-1/2", 2, results[1]).result(5)
gateway.close()
again = make(Path(sys.argv[2]))
batch = batch_of(again)
print(sorted(batch.done), batch.sums[0].count)
again.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limits of file sizes")
def test_without_room_a_result_is_not_accepted_and_may_come_again(tmp_path):
    command = [sys.executable, "-c", NO_ROOM, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == "503 journal [2]\n[1, 2] 2\n", done.stderr


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root can write everywhere")
def test_a_journal_that_cannot_be_written_fails_the_gateway_by_name():
    script = (
        "import os, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from gateways import make, order, update, SCALE, MODEL\n"
        "from flare_edge.gateway.results import train_result\n"
        "gateway = make(Path(sys.argv[2])); gateway.give([order(1)])\n"
        "os.chmod(Path(sys.argv[2]) / 'journal', 0o555)\n"
        "try: gateway.report('gw-1/1', 1, train_result(update(), MODEL, SCALE)).result(5)\n"
        "except Exception as error: print(error)\n"
        "try: gateway.next_report()\n"
        "except Exception as error: print(error)\n"
    )
    user = [] if os.geteuid() else ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with tempfile.TemporaryDirectory() as name:
        if os.geteuid() == 0:
            os.chown(name, 65534, 65534)
        command = [*user, sys.executable, "-c", script, str(Path(__file__).parent), name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/")
        os.chmod(Path(name) / "journal", 0o755)
    first, second = done.stdout.splitlines()
    assert first == "the result cannot be kept now; send it again"
    assert second.startswith(f"the journal in {name} cannot be written: [Errno 13] Permission denied")


def test_a_damaged_journal_is_refused_by_name(tmp_path):
    gateway = make(tmp_path)
    for ticket in (1, 2):
        gateway.give([order(ticket)])
        gateway.report(f"gw-1/{ticket}", ticket, update(0.1)).result(5)
        batch_of(gateway)
    gateway.close()
    first, _ = sorted((tmp_path / "journal").glob("results-*"))
    content = bytearray(first.read_bytes())
    content[40] ^= 1
    first.write_bytes(bytes(content))
    with pytest.raises(EdgeError, match=r"results-00000001\.journal is damaged at byte 0"):
        make(tmp_path)


def test_a_silent_device_has_left_and_its_late_order_fails(tmp_path):
    gateway = Gateway("gw-1", tmp_path, GatewaySettings(device_timeout_s=0.05), SCALE, {}, answer_within_s=0.1)
    gateway.set_model(0, MODEL)
    gateway.poll("gw-1/a")
    gateway.poll("gw-1/b")
    gateway.give([order(1, "gw-1/b")])
    reports = []
    while not reports or not (reports[-1].batch and "gw-1/a" in left(reports)):
        reports.append(gateway.next_report())
    assert left(reports) == ["gw-1/a", "gw-1/b"]
    assert reports[-1].batch.failed == {1: "no answer within 0.1 s"}
    gateway.poll("gw-1/a")
    assert gateway.next_report().joined == ["gw-1/a"]
    gateway.close()


def test_a_device_that_leaves_fails_its_order(tmp_path):
    gateway = make(tmp_path)
    gateway.poll("gw-1/a")
    assert gateway.next_report().joined == ["gw-1/a"]
    gateway.give([order(1, "gw-1/a")])
    gateway.leave("gw-1/a")
    report = gateway.next_report()
    assert (report.left, report.batch.failed) == (["gw-1/a"], {1: "the device left"})
    gateway.close()


def test_an_order_that_has_failed_is_not_opened_again_after_a_restart(tmp_path):
    gateway = make(tmp_path)
    gateway.poll("gw-1/1")
    gateway.give([order(1)])
    gateway.leave("gw-1/1")
    batch = batch_of(gateway)
    gateway.close()
    again = make(tmp_path)
    again.give([order(1)])  # from a parent that does not know yet
    assert again.open_tickets() == []
    assert_same(again.unacknowledged()[0][1], batch)
    again.close()


def test_a_sum_of_few_devices_is_held_back_then_fails(tmp_path):
    gateway = make(tmp_path, update_timeout_s=0.05, min_devices_per_sum=2)
    gateway.give([order(1), order(2), order(3, version=1)])
    gateway.report("gw-1/1", 1, update(0.1)).result(5)
    gateway.report("gw-1/3", 3, update(0.1)).result(5)
    batch = batch_of(gateway)
    assert (list(batch.done), list(batch.failed)) == ([], [3])
    assert "fewer than 2 devices" in batch.failed[3]
    gateway.report("gw-1/2", 2, update(0.1)).result(5)
    assert sorted(batch_of(gateway).done) == [1, 2]
    gateway.close()


def test_a_device_that_trains_a_version_twice_is_one_device_of_its_sum(tmp_path):
    gateway = make(tmp_path, update_timeout_s=0.05, min_devices_per_sum=2)
    for ticket in (1, 2):
        gateway.give([order(ticket, "gw-1/a")])
        gateway.report("gw-1/a", ticket, update(0.1)).result(5)
    assert sorted(batch_of(gateway).failed) == [1, 2]
    gateway.close()


def test_a_job_cannot_ask_for_sums_of_fewer_devices_than_the_owner_wants(tmp_path):
    gateway = Gateway("gw-1", tmp_path, GatewaySettings(min_devices_per_sum=2), SCALE, {}, update_timeout_s=0.05)
    gateway.set_model(0, MODEL)
    gateway.give([order(1)])
    gateway.report("gw-1/1", 1, update(0.1)).result(5)
    assert list(batch_of(gateway).failed) == [1]
    gateway.close()


def test_devices_hear_that_the_run_is_over(tmp_path):
    gateway = make(tmp_path)
    woken = threading.Event()
    gateway.poll("gw-1/a", woken.set)
    gateway.finish()
    assert woken.wait(5)
    with pytest.raises(Over):
        gateway.poll("gw-1/a")
    gateway.close()
    with pytest.raises(Closed):
        gateway.next_report()


def batch_of(gateway):
    while (report := gateway.next_report()).batch is None:
        assert report.joined or report.left
    return report.batch


def left(reports):
    return [device for report in reports for device in report.left]


def assert_same(one, other):
    assert (one.leaves, list(one.done), one.failed) == (other.leaves, list(other.done), other.failed)
    assert one.sums.keys() == other.sums.keys()
    for version, each in one.sums.items():
        assert (each.weight, each.count, each.metrics) == (
            other.sums[version].weight,
            other.sums[version].count,
            other.sums[version].metrics,
        )
        for name, value in each.total.items():
            np.testing.assert_array_equal(value, other.sums[version].total[name])


def test_an_order_is_open_or_answered_while_its_result_is_written(tmp_path):
    gateway = make(tmp_path)
    tickets = set(range(1, 11))
    gateway.give([order(ticket) for ticket in tickets])
    for ticket in tickets:
        written = gateway.report(f"gw-1/{ticket}", ticket, update(0.5))
        assert {each.ticket for each in (*gateway.open_tickets(), *gateway.answered())} == tickets
        written.result(10)
        assert {each.ticket for each in (*gateway.open_tickets(), *gateway.answered())} == tickets
    gateway.close()
