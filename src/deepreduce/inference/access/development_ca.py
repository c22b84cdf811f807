"""A development CA: self-signed certificates for servers and clients, for tests and loopback.

    authority.pem, authority.key    signs servers: clients trust it (--tls-ca)
    server.pem, server.key          for the names given
    clients.pem, clients.key        signs clients: the server trusts it (--tls-client-ca)
    client-NAME.pem, client-NAME.key

For tests and for the inside of a laboratory, not for production: keys lie unencrypted beside each other, and nothing
can be revoked. Each authority can do one thing only: what signs servers signs no clients and no names but those that it
was made for (name constraints), what signs clients signs no servers. An authority is never overwritten. Certificates
that are near their end are renewed over the same key, so that a pair of files fits at any moment.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ...errors import SettingError, one_line
from ...files import write_whole
from ...locks import lock
from ...paths import config_folder
from ..identity import is_usable_name

AUTHORITY_DAYS, LEAF_DAYS, RENEW_DAYS = 5 * 365, 365, 90
BACKDATED = datetime.timedelta(hours=1)  # for clocks that differ
LOOPBACK = ("localhost", "127.0.0.1", "::1")
LOOPBACK_ONLY = ("localhost", "127.0.0.0/8", "::1/128")
COMMON_NAME = 64  # characters that a certificate's common name may have

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its key, as files; ``new``: made or renewed just now."""

    certificate: Path
    key: Path
    new: bool


@dataclass(frozen=True, slots=True)
class _Authority:
    certificate: x509.Certificate
    key: Key
    path: Path


def development_folder() -> Path:
    """Return where a user's own authority for this machine is."""
    return config_folder() / "development"


def loopback_pair() -> Pair:
    """Return a certificate for servers that only this machine can reach, made on first use. Raises `SettingError`."""
    with _opened(development_folder()) as folder:
        authority = _authority(folder, "authority", LOOPBACK_ONLY)
        return _leaf(folder, "server", authority, LOOPBACK)


def loopback_authority() -> Path:
    """Return what a client on this machine trusts for such a server. Raises `SettingError` when there is none."""
    folder = development_folder()
    path = folder / "authority.pem"
    if not path.is_file():
        raise SettingError(
            f"there is no development authority at {path}",
            "deepreduce serve makes it; or give `tls_ca` FILE, `tls`, or `insecure` for a server without TLS",
        )
    _check_private(folder)
    return path


def make_certificates(folder: Path, hosts: Sequence[str], clients: Sequence[str]) -> list[Pair]:
    """Authorities, a server's certificate for all ``hosts`` together, one for each client; renews what is near its end.

    Raises `SettingError` at names that cannot be certified, or that the authority in the folder was not made for.
    """
    for host in hosts:
        _general_name(host)
    for name in clients:
        if not is_usable_name(name) or not re.fullmatch(r"[A-Za-z0-9_.@+-]+", name) or len(name) > COMMON_NAME:
            raise SettingError(f"{name!r:.80} cannot name a client", "use letters, digits and . _ @ + -, at most 64")
    pairs = []
    with _opened(folder) as folder:
        if hosts or (folder / "server.pem").exists():
            authority = _authority(folder, "authority", hosts)
            names = tuple(hosts) or _names_of(_read_certificate(folder / "server.pem"))
            _check_permitted(authority, names)
            pairs.append(_leaf(folder, "server", authority, names))
        known = [path.stem.removeprefix("client-") for path in sorted(folder.glob("client-*.pem"))]
        wanted = list(dict.fromkeys([*clients, *known]))
        if wanted:
            authority = _authority(folder, "clients", None)
            pairs += [_leaf(folder, f"client-{name}", authority, name) for name in wanted]
    if not pairs:
        raise SettingError("neither a host nor a client is named", "give `host` NAME or `client` NAME")
    return pairs


# --- certificates -----------------------------------------------------------------------------------------------------


def _authority(folder: Path, stem: str, hosts: Sequence[str] | None) -> _Authority:
    """Return the one that is there, or a new one. ``hosts``: names it may sign; None: it signs clients."""
    path, key_path = folder / f"{stem}.pem", folder / f"{stem}.key"
    if path.exists():
        certificate, key = _read_certificate(path), _read_key(key_path)
        if certificate.not_valid_after_utc < _now() + datetime.timedelta(days=1):
            raise SettingError(
                f"the development authority {path} ends on {certificate.not_valid_after_utc:%Y-%m-%d}",
                "make another in a new folder, or move this one away",
            )
        return _Authority(certificate, key, path)
    key = _read_key(key_path) if key_path.exists() else ec.generate_private_key(ec.SECP256R1())
    what = "servers" if hosts is not None else "clients"
    name = x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "deepreduce, for development only"),
        x509.NameAttribute(NameOID.COMMON_NAME, f"development authority for {what} {os.urandom(4).hex()}"),
    ])  # fmt: skip
    builder = _begin(name, name, key, AUTHORITY_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs=True), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([_purpose(hosts is not None)]), critical=False)
    if hosts is not None:
        builder = builder.add_extension(_constraints(hosts), critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
    )
    certificate = builder.sign(key, hashes.SHA256())
    if not key_path.exists():
        _write_key(key_path, key)
    _write_certificate(path, certificate)
    return _Authority(certificate, key, path)


def _leaf(folder: Path, stem: str, authority: _Authority, of: Sequence[str] | str) -> Pair:
    """Return the certificate of a server with these hosts or of a client; a valid one is reused."""
    hosts = None if isinstance(of, str) else of
    name = of if isinstance(of, str) else "deepreduce server"  # a host here would count as one more name
    path, key_path = folder / f"{stem}.pem", folder / f"{stem}.key"
    if path.exists() and key_path.exists() and _still_good(_read_certificate(path), authority, hosts):
        return Pair(path, key_path, False)
    key = _read_key(key_path) if key_path.exists() else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _begin(subject, authority.certificate.subject, key, LEAF_DAYS, authority.certificate.not_valid_after_utc)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([_purpose(hosts is not None)]), critical=False)
    client = x509.UniformResourceIdentifier(f"client:{name}") if hosts is None else None
    names = [client] if client else [_general_name(host) for host in hosts or ()]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    issuer = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False
    )
    if not key_path.exists():
        _write_key(key_path, key)
    _write_certificate(path, builder.sign(authority.key, hashes.SHA256()))
    return Pair(path, key_path, True)


def _begin(
    subject: x509.Name, issuer: x509.Name, key: Key, days: int, at_most: datetime.datetime | None = None
) -> x509.CertificateBuilder:
    now = _now()
    end = now + datetime.timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(end if at_most is None else min(end, at_most))
    )


def _still_good(certificate: x509.Certificate, authority: _Authority, hosts: Sequence[str] | None) -> bool:
    """Signed by this authority, for these names, and far from its end, or as long as the authority's own life."""
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (InvalidSignature, ValueError, TypeError):
        return False
    if hosts is not None and set(_names_of(certificate)) != set(map(_canonical, hosts)):
        return False
    end = certificate.not_valid_after_utc
    return end > _now() + datetime.timedelta(days=RENEW_DAYS) or end >= authority.certificate.not_valid_after_utc


def _usage(signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _purpose(server: bool) -> x509.ObjectIdentifier:
    return ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH


# --- names ------------------------------------------------------------------------------------------------------------


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        pass
    if not re.fullmatch(
        r"(?:\*\.)?[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*", host.lower()
    ) or (len(host) > 253):
        raise SettingError(f"{host!r:.80} is not a host name", "write server.example or an IP address, without a port")
    return x509.DNSName(host.lower())


def _canonical(host: str) -> str:
    name = _general_name(host)
    return str(name.value)


def _names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return tuple(str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress))


def _constraints(hosts: Sequence[str]) -> x509.NameConstraints:
    """These names (and what is below them), these addresses, and no others."""
    permitted: list[x509.GeneralName] = []
    for host in hosts:
        try:
            permitted.append(x509.IPAddress(ip_network(host)))
        except ValueError:
            permitted.append(x509.DNSName(host.lower().removeprefix("*.")))
    excluded: list[x509.GeneralName] = []  # a kind without any permitted name would be free
    if not any(isinstance(name, x509.IPAddress) for name in permitted):
        excluded += [x509.IPAddress(ip_network(everything)) for everything in ("0.0.0.0/0", "::/0")]
    if not any(isinstance(name, x509.DNSName) for name in permitted):
        excluded.append(x509.DNSName(""))
    return x509.NameConstraints(permitted or None, excluded or None)


def _within(address: object, network: object) -> bool:
    return (
        isinstance(network, IPv4Network | IPv6Network)
        and isinstance(address, IPv4Address | IPv6Address)
        and (address in network)
    )


def _check_permitted(authority: _Authority, hosts: Sequence[str]) -> None:
    """Raises `SettingError` at a name that the authority may not sign, which verifiers would refuse."""
    permitted = (
        authority.certificate.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    )
    for host in hosts:
        name = _general_name(host)
        if isinstance(name, x509.IPAddress):
            good = any(isinstance(one, x509.IPAddress) and _within(name.value, one.value) for one in permitted)
        else:
            plain = name.value.removeprefix("*.")
            good = any(
                isinstance(one, x509.DNSName) and (plain == one.value or plain.endswith(f".{one.value}"))
                for one in permitted
            )
        if not good:
            known = ", ".join(str(one.value) for one in permitted)
            raise SettingError(
                f"the authority {authority.path} was made for {known}, not for {host}",
                "make another authority in a new folder: an authority keeps to the names it was made for",
            )


# --- files ------------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(folder: Path) -> Iterator[Path]:
    """Yield the folder, made as needed, for this process alone."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise SettingError(f"{folder} cannot be used: {error.strerror or error}", "check its permissions") from None
    try:
        if not any(folder.iterdir()):
            folder.chmod(0o700)
        _check_private(folder)
        lock(handle)
        yield folder
    finally:
        os.close(handle)


def _check_private(folder: Path) -> None:
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise SettingError(f"others may use the development authority in {folder}", f"chmod 700 {folder}")


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SettingError(f"the certificate {path} cannot be read: {one_line(error)}", "move it away") from None


def _read_key(path: Path) -> Key:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise SettingError(
            f"the key {path} cannot be read: {one_line(error)}", "move it away with its certificate"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SettingError(f"the key {path} is not one that was made here", "move it away with its certificate")
    return key


def _write_key(path: Path, key: Key) -> None:
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_whole(path, encoded, 0o600)


def _write_certificate(path: Path, certificate: x509.Certificate) -> None:
    write_whole(path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
