"""Identities of clients: the name in a certificate, the name of a token, or ``anonymous``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

ANONYMOUS = "anonymous"  # everybody whom neither a certificate nor a token of their own names
MAX_NAME = 128  # characters


def is_usable_name(name: str) -> bool:
    """Return whether an identity may have this name: printable, on one line, and not the name of no one in
    particular.
    """
    return 0 < len(name) <= MAX_NAME and name.isprintable() and name == name.strip() and name != ANONYMOUS


def certificate_name(certificate: Mapping[str, Any] | None) -> str | None:
    """Return the name in a verified certificate, as `ssl.SSLSocket.getpeercert` gives it; None: there is none to use.

    The subject's common name; without one, the subject's only alternative name (mail address, host name or URI).
    """
    if not certificate:
        return None
    found = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    if not found:
        found = [value for kind, value in certificate.get("subjectAltName", ()) if kind in ("email", "DNS", "URI")]
    return found[0] if len(found) == 1 and is_usable_name(found[0]) else None


def peer_of(identity: str, client: str) -> str:
    """Whose material it is in a server's store: the identity's, and among its own the ``client``'s (a digest)."""
    return client if identity == ANONYMOUS else f"{_prefix(identity)}/{client}"


def peers_of(identity: str) -> tuple[str, str]:
    """Bounds of all peers of an identity: the first is at most, the second above each of them, in the order of text."""
    # No one's begin with a hexadecimal digit, all others with a tilde; 0 comes after the slash.
    return ("0", "g") if identity == ANONYMOUS else (f"{_prefix(identity)}/", f"{_prefix(identity)}0")


def _prefix(identity: str) -> str:
    return "~" + hashlib.sha256(b"deepreduce identity" + identity.encode("utf-8", "surrogatepass")).hexdigest()[:32]
