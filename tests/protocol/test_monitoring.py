"""The operator's page: alive, ready, counters, and nothing else."""

import shutil
import socket
import urllib.error
import urllib.request
from collections import namedtuple

import numpy as np
import pytest

from deepreduce.errors import SettingError
from deepreduce.inference import Client
from deepreduce.inference.server import Metrics, MonitoringServer
from deepreduce.plan import digest, predict, weights_digest
from deepreduce.version import __version__
from sessions import PLAN, WEIGHTS, X, serving, weights_of


@pytest.fixture
def monitored():
    """(page's address, metrics, what makes it follow a server)."""
    metrics, servers = Metrics(), []
    page = MonitoringServer("127.0.0.1", 0, metrics, lambda: servers[-1].not_ready() if servers else "starting")

    def follow(server):
        metrics.follow(server.resources)
        servers.append(server)

    yield f"http://127.0.0.1:{page.port}", metrics, follow
    page.close()


def get(address, path):
    try:
        with urllib.request.urlopen(address + path, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def samples(address):
    from prometheus_client.parser import text_string_to_metric_families

    families = text_string_to_metric_families(get(address, "/metrics")[1])
    return {(one.name, *sorted(one.labels.items())): one.value for family in families for one in family.samples}


def test_alive_from_the_start_and_ready_while_sessions_are_accepted(monitored):
    address, metrics, follow = monitored
    assert get(address, "/healthz") == (200, "ok\n")
    assert get(address, "/readyz") == (503, "starting\n")
    assert get(address, "/metrics")[0] == 200
    with serving(PLAN, WEIGHTS, observers=[metrics.observe]) as (server, _):
        follow(server)
        assert get(address, "/readyz") == (200, "ok\n")
        server.shutdown(0.1)
        assert get(address, "/readyz") == (503, "the server is being shut down\n")
        assert get(address, "/healthz") == (200, "ok\n")


@pytest.mark.parametrize("path", ["/", "/metricsx", "/metrics/", "/healthz/..", "/favicon.ico", "/debug"])
def test_unknown_paths(monitored, path):
    assert get(monitored[0], path) == (404, "known: /metrics, /healthz, /readyz\n")


def test_not_ready_before_it_listens_and_without_memory(monitored):
    from deepreduce.inference import Server, ServerSettings

    address, _, follow = monitored
    each = predict(PLAN, "ot").total.stored_bytes_server
    with Server(PLAN, WEIGHTS, ServerSettings(max_prepared_bytes=each, insecure=True)) as server:
        follow(server)
        assert get(address, "/readyz") == (503, "the server does not accept sessions yet\n")
        port = server.listen()
        server.start()
        with Client("127.0.0.1", port, protocol="ot", insecure=True) as client:
            client.prepare(1)
            assert get(address, "/readyz") == (503, "the memory for prepared material is used up\n")
            client.predict_integers(X)
            assert get(address, "/readyz") == (200, "ok\n")


def test_not_ready_when_the_stores_disk_is_full(monitored, tmp_path, monkeypatch):
    address, _, follow = monitored
    with serving(PLAN, WEIGHTS, store=tmp_path / "store") as (server, _):
        follow(server)
        assert get(address, "/readyz") == (200, "ok\n")
        usage = namedtuple("usage", "total used free")(1 << 40, 1 << 40, 1 << 20)
        monkeypatch.setattr("deepreduce.inference.server.resources.disk_usage", lambda path: usage)
        assert get(address, "/readyz") == (503, "the disk of the store is full\n")
    assert shutil.disk_usage(tmp_path).free > usage.free


def test_predictions_are_images_and_plans_have_digests(monitored):
    address, metrics, follow = monitored
    with serving(PLAN, WEIGHTS, observers=[metrics.observe]) as (server, port):
        follow(server)
        with Client("127.0.0.1", port, protocol="ot", insecure=True, batch=4, mode="single") as client:
            client.predict_integers(np.concatenate([X] * 4))
        found = samples(address)
        assert found[("deepreduce_predictions_total", ("plan", ""))] == 4
        assert found[("deepreduce_preparations_total", ("plan", ""))] == 1
        assert found[("deepreduce_seconds_count", ("phase", "online"))] == 1
        assert found[("process_cpu_seconds_total",)] > 0

        def info(weights):
            labels = {"name": "", "plan": digest(PLAN), "version": __version__, "weights": weights_digest(weights)}
            return ("deepreduce_build_info", *sorted(labels.items()))

        assert found[info(WEIGHTS)] == 1
        server.load("", PLAN, weights_of(PLAN, 9))
        found = samples(address)
        assert found[info(weights_of(PLAN, 9))] == 1 and info(WEIGHTS) not in found


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SettingError, match="cannot listen"):
        MonitoringServer("127.0.0.1", taken.getsockname()[1], Metrics(), lambda: None)
