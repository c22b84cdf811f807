"""The shaped link: what it is told, what it does to bytes, and that it is never faster than it should be."""

import socket
import threading
import time

import numpy as np
import pytest

from deepreduce.benchmark.link_emulator import Line, LinkEmulator, piece_bytes
from deepreduce.errors import SettingError
from deepreduce.plan.cost.network_link import LINKS, NetworkLink, parse_link


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("none", None),
        ("lan", NetworkLink(1e9, 0.001)),
        (" WAN ", NetworkLink(1e8, 0.040)),
        ("200Mbit,20ms", NetworkLink(2e8, 0.02)),
        ("1.5 Gbit/s, 500us", NetworkLink(1.5e9, 0.0005)),
        ("64kbps,1s", NetworkLink(64e3, 1.0)),
    ],
)
def test_networks_are_read(text, link):
    assert parse_link(text) == link


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dsl", "network 'dsl' is not known"),
        ("1Gbit", "is not known"),
        ("1Gbit,1ms,2", "is not known"),
        ("1Gbyte,1ms", "rate '1Gbyte'"),
        ("-1Gbit,1ms", "rate '-1Gbit'"),
        ("1e9bit,1ms", "rate '1e9bit'"),
        ("1Gbit,1", "round-trip time '1'"),
        ("1kbit,1ms", "rate of 1000 bit/s, from 10 kbit"),
        ("1Gbit,11s", "round trip of 11 s, at most 10"),
    ],
)
def test_other_networks_are_refused_by_name(text, message):
    with pytest.raises(SettingError, match=message):
        parse_link(text)


def test_a_line_schedules_rate_and_delay():
    line, now = Line(NetworkLink(8e6, 0.2)), time.monotonic()  # a byte per microsecond
    line.put(b"a" * 1000, now - 10)  # long ago: at once
    assert line.get() == b"a" * 1000
    line.put(b"b" * 20_000, now)
    line.put(b"c" * 30_000, now)
    assert line.get() == b"b" * 20_000
    assert time.monotonic() - now >= 0.12
    assert line.get() == b"c" * 30_000
    assert time.monotonic() - now >= 0.15


def test_a_full_line_makes_its_sender_wait():
    line = Line(NetworkLink(1e8, 0.0))
    for _ in range(2):
        line.put(bytes(1 << 16), time.monotonic() + 0.05)
    blocked = threading.Thread(target=line.put, args=(bytes(1 << 17), 0.0), daemon=True)
    blocked.start()
    blocked.join(0.01)
    assert blocked.is_alive()
    line.get()
    line.get()
    blocked.join(10)
    assert not blocked.is_alive()


def test_pieces_are_half_a_millisecond_within_bounds():
    assert piece_bytes(LINKS["lan"]) == 62_500
    assert piece_bytes(NetworkLink(1e4, 1)) == 4096
    assert piece_bytes(NetworkLink(1e11, 0)) == 1 << 18


def echo(listener):
    connection, _ = listener.accept()
    with connection:
        while content := connection.recv(1 << 16):
            connection.sendall(content)


def through(link, content):
    """What comes back of ``content``, and the seconds that it took."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=echo, args=(listener,), daemon=True).start()
        with (
            LinkEmulator(link, "127.0.0.1", listener.getsockname()[1]) as relay,
            socket.create_connection(("127.0.0.1", relay.port), 60) as connection,
        ):
            connection.settimeout(60)
            started = time.monotonic()

            def send():
                connection.sendall(content)
                connection.shutdown(socket.SHUT_WR)

            threading.Thread(target=send, daemon=True).start()
            back = bytearray()
            while part := connection.recv(1 << 16):
                back += part
            return bytes(back), time.monotonic() - started


def test_bytes_arrive_intact_and_not_before_rate_and_delay_allow():
    content = np.random.default_rng(0).bytes(500_000)
    back, seconds = through(NetworkLink(4e7, 0.1), content)
    assert back == content
    assert seconds >= 0.1 + 8 * len(content) / 4e7


def test_an_unshaped_relay_passes_bytes():
    content = np.random.default_rng(1).bytes(5_000_000)
    assert through(NetworkLink(1e11, 0), content)[0] == content


def test_a_target_that_is_gone_ends_the_connection():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with LinkEmulator(NetworkLink(1e9, 0), "127.0.0.1", port) as relay:
        connection = socket.create_connection(("127.0.0.1", relay.port), 60)
        connection.settimeout(60)
        assert connection.recv(1) == b""
