"""A development authority: what it signs and what it may not, that it is kept, that its certificates are renewed."""

import datetime
import shutil
import ssl
import subprocess

import pytest
from cryptography import x509

from deepreduce.errors import SettingError
from deepreduce.inference.access import development_ca
from deepreduce.inference.access.development_ca import loopback_authority, loopback_pair, make_certificates


def verified(trusted, certificate, purpose):
    """What OpenSSL says of a chain, with its strictest checks."""
    command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", trusted, certificate]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0


def shake(server, client, name):
    """A handshake in memory; the name that the server sees in the client's certificate."""
    a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
    near, far = client.wrap_bio(a, b, server_hostname=name), server.wrap_bio(b, a, server_side=True)
    waiting = [near, far, near, far]
    for side in waiting:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    near.write(b"x")
    assert far.read(1) == b"x"
    return far.getpeercert()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "certificates"
    make_certificates(folder, ["server.example", "10.0.0.1", "fd00::1"], ["alice", "bob.smith@example.org", "a.b"])
    return folder


def test_what_is_made(made):
    assert made.stat().st_mode & 0o777 == 0o700
    for path in made.iterdir():
        assert path.stat().st_mode & 0o777 == (0o600 if path.suffix == ".key" else 0o644)
    found = x509.load_pem_x509_certificate((made / "server.pem").read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(name.value) for name in names} == {"server.example", "10.0.0.1", "fd00::1"}
    assert found.not_valid_after_utc - found.not_valid_before_utc < datetime.timedelta(days=398)


def test_each_certificate_is_good_for_one_thing(made):
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    assert verified(made / "authority.pem", made / "server.pem", "sslserver")
    assert not verified(made / "authority.pem", made / "server.pem", "sslclient")
    for name in ("alice", "bob.smith@example.org", "a.b"):
        assert verified(made / "clients.pem", made / f"client-{name}.pem", "sslclient")
        assert not verified(made / "clients.pem", made / f"client-{name}.pem", "sslserver")
        assert not verified(made / "authority.pem", made / f"client-{name}.pem", "sslclient")


def test_a_handshake_with_names_on_both_sides(made):
    from deepreduce.inference import client_context, server_context
    from deepreduce.inference.identity import certificate_name

    server = server_context(made / "server.pem", made / "server.key", made / "clients.pem")
    for name in ("alice", "bob.smith@example.org", "a.b"):
        own = made / f"client-{name}.pem", made / f"client-{name}.key"
        client = client_context(made / "authority.pem", *own)
        assert certificate_name(shake(server, client, "server.example")) == name
        assert certificate_name(shake(server, client, "10.0.0.1")) == name
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(server, client, "other.example")


def test_a_stolen_authority_signs_no_other_names(made, tmp_path):
    """Its name constraints, not our care, keep it from doing so."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    found = development_ca._Authority(
        x509.load_pem_x509_certificate((made / "authority.pem").read_bytes()),
        development_ca._read_key(made / "authority.key"),
        made / "authority.pem",
    )
    for number, hosts in enumerate([["bank.example"], ["10.0.0.2"], ["server.example", "fd00::2"]]):
        pair = development_ca._leaf(tmp_path, f"forged{number}", found, hosts)
        assert not verified(made / "authority.pem", pair.certificate, "sslserver")
    below = development_ca._leaf(tmp_path, "below", found, ["a.server.example"])
    assert verified(made / "authority.pem", below.certificate, "sslserver")
    for number, hosts in enumerate([["only.example"], ["10.0.0.9"]]):
        folder = tmp_path / str(number)
        make_certificates(folder, hosts, [])
        assert verified(folder / "authority.pem", folder / "server.pem", "sslserver")


def test_an_authority_is_kept_and_refuses_other_names(made):
    before = (made / "authority.pem").read_bytes(), (made / "clients.pem").read_bytes()
    assert [pair.new for pair in make_certificates(made, [], [])] == [False] * 4
    pairs = make_certificates(made, ["server.example"], ["carol"])
    assert [pair.certificate.name for pair in pairs if pair.new] == ["server.pem", "client-carol.pem"]
    with pytest.raises(SettingError, match=r"was made for server\.example, .*, not for other\.example"):
        make_certificates(made, ["other.example"], [])
    assert before == ((made / "authority.pem").read_bytes(), (made / "clients.pem").read_bytes())


def test_what_is_near_its_end_is_renewed_over_the_same_key(tmp_path, monkeypatch):
    make_certificates(tmp_path / "d", ["a.example"], ["alice"])
    keys = {path.name: path.read_bytes() for path in (tmp_path / "d").glob("*.key")}
    now = development_ca._now()
    monkeypatch.setattr(development_ca, "_now", lambda: now + datetime.timedelta(days=270))
    assert not any(pair.new for pair in make_certificates(tmp_path / "d", [], []))
    monkeypatch.setattr(development_ca, "_now", lambda: now + datetime.timedelta(days=280))
    pairs = make_certificates(tmp_path / "d", [], [])
    assert [(pair.certificate.name, pair.new) for pair in pairs] == [("server.pem", True), ("client-alice.pem", True)]
    assert keys == {path.name: path.read_bytes() for path in (tmp_path / "d").glob("*.key")}
    monkeypatch.setattr(development_ca, "_now", lambda: now + datetime.timedelta(days=6 * 365))
    with pytest.raises(SettingError, match="make another in a new folder"):
        make_certificates(tmp_path / "d", [], [])


@pytest.mark.parametrize("hosts", [["a.example:7000"], ["-a"], ["a b"], [""], ["x" * 300], ["https://a"]])
def test_hosts_that_are_none(tmp_path, hosts):
    with pytest.raises(SettingError, match="is not a host name"):
        make_certificates(tmp_path / "d", hosts, [])


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b", "anonymous", "x" * 65, "é"])
def test_clients_that_are_none(tmp_path, name):
    with pytest.raises(SettingError, match="cannot name a client"):
        make_certificates(tmp_path / "d", [], [name])
    assert not (tmp_path / "d").exists()


def test_damage_is_told_and_nothing_overwritten(tmp_path):
    folder = tmp_path / "d"
    make_certificates(folder, ["a.example"], [])
    (folder / "authority.pem").write_text("not a certificate")
    with pytest.raises(SettingError, match=r"authority\.pem cannot be read"):
        make_certificates(folder, [], ["alice"])
    assert (folder / "authority.pem").read_text() == "not a certificate"
    with pytest.raises(SettingError, match="neither a host nor a client"):
        make_certificates(tmp_path / "e", [], [])
    folder.chmod(0o755)
    with pytest.raises(SettingError, match="chmod 700"):
        make_certificates(folder, [], ["alice"])


def test_for_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPREDUCE_CONFIG", str(tmp_path / "config"))
    with pytest.raises(SettingError, match="there is no development authority"):
        loopback_authority()
    pair = loopback_pair()
    assert pair.new and not loopback_pair().new
    assert loopback_authority() == tmp_path / "config/development/authority.pem"
    assert pair.key.stat().st_mode & 0o777 == 0o600
    assert pair.key.parent.stat().st_mode & 0o777 == 0o700
    names = development_ca._names_of(x509.load_pem_x509_certificate(pair.certificate.read_bytes()))
    assert set(names) == {"localhost", "127.0.0.1", "::1"}
    pair.key.parent.chmod(0o750)
    for use in (loopback_pair, loopback_authority):
        with pytest.raises(SettingError, match="others may use"):
            use()


def test_a_crash_between_key_and_certificate_is_mended(tmp_path):
    folder = tmp_path / "d"
    make_certificates(folder, ["a.example"], [])
    for name in ("authority.pem", "server.pem", "server.key"):
        (folder / name).unlink()
    make_certificates(folder, ["a.example"], [])
    assert (folder / "server.pem").is_file()
