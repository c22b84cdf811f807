"""A client that takes its protocol by itself: on links, beside what is prepared, and against servers' limits."""

from contextlib import contextmanager

import numpy as np
import pytest

from deepreduce.benchmark.link_emulator import LinkEmulator
from deepreduce.errors import SessionError, SettingError
from deepreduce.inference import Client
from deepreduce.inference.transport.channel import Channel
from deepreduce.inference.transport.frames import Kind
from deepreduce.inference.transport.probe import MAX_PROBES, measure_link
from deepreduce.plan import run
from deepreduce.plan.cost import parse_link
from sessions import PLAN, TIMEOUT_S, WEIGHTS, X, differences, serving

pytestmark = pytest.mark.core
EXACT = run(PLAN, WEIGHTS, X)["d"]


@contextmanager
def far(port, link):
    with LinkEmulator(parse_link(link), "127.0.0.1", port) as relay:
        yield relay.port


@pytest.mark.parametrize(("link", "prefer", "protocol"), [("wan", "total", "delphi"), ("10Mbit,5ms", "total", "ot")])
def test_the_link_decides(weighed, link, prefer, protocol):
    """Sixty ReLUs: over 100 Mb/s two round trips weigh more than 150 KB, over 10 Mb/s and 5 ms less."""
    with (
        far(weighed[1], link) as port,
        Client("127.0.0.1", port, prefer=prefer, timeout_s=20.0, insecure=True) as client,
    ):
        assert client.protocol == protocol == client.choice.protocol
        # A frame of the probe is a part of what is measured.
        assert 0 <= client.choice.link.round_trip - parse_link(link).round_trip < 0.2
        assert 0.25 < client.choice.link.rate / parse_link(link).rate < 4  # whatever else the machine does
        client.prepare(1)
        assert np.array_equal(client.predict_integers(X), EXACT)
        assert differences(client, protocol, 1) == []


def test_without_a_link_there_is_none(weighed):
    with Client("127.0.0.1", weighed[1], timeout_s=TIMEOUT_S, insecure=True) as client:
        assert client.choice.link is None or client.choice.link.round_trip < 0.05  # a busy machine may look like a link
        client.prepare(1)
        assert np.array_equal(client.predict_integers(X), EXACT)
        with client.another() as second:
            assert (second.protocol, second.choice) == (client.protocol, None)


def test_a_protocol_that_is_given_is_taken_without_a_probe(weighed, monkeypatch):
    kinds, send = [], Channel.send
    monkeypatch.setattr(Channel, "send", lambda self, kind, *p, **s: (kinds.append(kind), send(self, kind, *p, **s))[1])
    with Client("127.0.0.1", weighed[1], protocol="delphi", timeout_s=TIMEOUT_S, insecure=True) as client:
        assert (client.protocol, client.choice) == ("delphi", None)
    assert Kind.PROBE not in kinds


@pytest.mark.parametrize("protocol", ["ot", "delphi"])
def test_what_is_prepared_decides_before_the_link(tmp_path, protocol):
    with serving(PLAN, WEIGHTS, store=tmp_path / "server", timeout_s=TIMEOUT_S) as (_, port):
        settings = {"store": tmp_path / "client", "timeout_s": TIMEOUT_S}
        with Client("127.0.0.1", port, protocol=protocol, insecure=True, **settings) as client:
            client.prepare(1)
        with Client("127.0.0.1", port, insecure=True, **settings) as client:
            assert (client.protocol, client.prepared, client.choice) == (protocol, 1, None)
            assert np.array_equal(client.predict_integers(X), EXACT)


def test_probes_have_an_end(weighed):
    with Client("127.0.0.1", weighed[1], protocol="ot", timeout_s=TIMEOUT_S, insecure=True) as client:
        channel = client._connection.channel
        for _ in range(MAX_PROBES):
            channel.send(Kind.PROBE, b"\1")
            channel.receive(Kind.PROBE, 1 << 13)
        with pytest.raises(SessionError, match="could not accept"):
            measure_link(channel)
    with Client("127.0.0.1", weighed[1], protocol="ot", timeout_s=TIMEOUT_S, insecure=True) as client:
        channel = client._connection.channel
        channel.send(Kind.PROBE, b"\xff")
        with pytest.raises(SessionError, match="could not accept"):
            channel.receive(Kind.PROBE, 1 << 13)


def test_what_is_preferred_must_be_known(weighed):
    with pytest.raises(SettingError, match="prefer"):
        Client("127.0.0.1", weighed[1], prefer="cheap", insecure=True)
    with pytest.raises(SettingError, match="unknown protocol 'fast'"):
        Client("127.0.0.1", weighed[1], protocol="fast", insecure=True)
