"""Metrics about a run's course, sent to a StatsD server."""

import re
import socket

import pytest

from flare_core import FlareError
from nvflare.app_common.aggregators.intime_accumulate_model_aggregator import InTimeAccumulateWeightedAggregator
from nvflare.app_common.np.np_model_persistor import NPModelPersistor
from nvflare.app_common.np.np_trainer import NPTrainer
from nvflare.app_common.shareablegenerators.full_model_shareable_generator import FullModelShareableGenerator
from nvflare.app_common.widgets.convert_to_fed_event import ConvertToFedEvent
from nvflare.app_common.workflows.scatter_and_gather import ScatterAndGather
from nvflare.fuel_opt.statsd.statsd_reporter import StatsDReporter
from nvflare.job_config.api import FedJob
from nvflare.metrics.job_metrics_collector import JobMetricsCollector
from nvflare.metrics.metrics_keys import METRICS_EVENT_TYPE
from nvflare.metrics.remote_metrics_receiver import RemoteMetricsReceiver


@pytest.fixture
def statsd():
    """A server that notes what comes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        yield server


def received(server) -> list[str]:
    """Return what has come, until a last datagram of this process."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.sendto(b"end", server.getsockname())
    found = []
    while (text := server.recv(65536).decode()) != "end":
        found.append(text)
    return found


def test_counters_and_times_of_the_server_and_the_sites_arrive(tmp_path, statsd):
    job = FedJob("watched", min_clients=2)
    job.to_server(
        ScatterAndGather(
            min_clients=2,
            num_rounds=2,
            persistor_id=job.as_id(NPModelPersistor(model=[1.0])),
            aggregator_id=job.as_id(InTimeAccumulateWeightedAggregator(expected_data_kind="WEIGHTS")),
            shareable_generator_id=job.as_id(FullModelShareableGenerator()),
        )
    )
    job.to_server(JobMetricsCollector({"site": "server"}), id="collector")
    job.to_server(StatsDReporter("server", host="127.0.0.1", port=statsd.getsockname()[1]), id="statsd_reporter")
    job.to_server(RemoteMetricsReceiver(), id="receiver")
    for site in ("site-1", "site-2"):
        job.to(NPTrainer(), site, tasks=["train"])
        job.to(JobMetricsCollector({"site": site, "env": "dev"}, streaming_to_server=True), site, id="collector")
        job.to(ConvertToFedEvent([METRICS_EVENT_TYPE]), site, id="converter")
    job.simulator_run(str(tmp_path / "runs"))
    found = received(statsd)
    of_server = "|#site:server,job_id:simulate_job"
    assert found.count(f"_round_started_count:1|c{of_server}") == 2
    assert found.count(f"_start_run_count:1|c{of_server}") == 1
    assert sum(bool(re.match(r"_round_time_taken:[\d.e-]+\|g\|#site:server", text)) for text in found) == 2
    for site in ("site-1", "site-2"):
        tags = f"|#site:{site},env:dev,job_id:simulate_job"
        assert found.count(f"_before_task_execution_count:1|c{tags}") == 2
        assert sum(text.startswith("_task_execution_time_taken:") and text.endswith(tags) for text in found) == 2


def test_a_server_that_is_not_known_is_named():
    with pytest.raises(FlareError, match=r"cannot be sent to nowhere\.invalid:9125"):
        StatsDReporter(host="nowhere.invalid").report("x", 1.0, "counter", {})
    with pytest.raises(ValueError, match="metric x is of the kind 'histogram'"):
        StatsDReporter().report("x", 1.0, "histogram", {})
