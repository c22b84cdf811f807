"""TLS that neither side has named certificates for: which addresses only this machine can reach."""

from deepreduce.inference.access import is_loopback


def test_which_addresses_are_of_this_machine(monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: [(2, 1, 6, "", ("127.0.0.1", 0))])  # a name is not believed
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "192.0.2.1", "server.example"))
