"""Failures of a TLS handshake in words: what OpenSSL reports, and what to do about it."""

from __future__ import annotations

import ssl
from typing import NamedTuple


class TlsFailure(NamedTuple):
    """What went wrong, to be read after "TLS with HOST:PORT failed:", and its remedy."""

    text: str
    hint: str


TRUST = (
    "trust the authority that signed it: `tls_ca` FILE, the server's authority.pem (in Python tls=client_context(FILE))"
)
PLAIN = TlsFailure(
    "what answers there does not speak TLS",
    "check the port; a server for tests on plain TCP needs `insecure` on the client's side, too",
)
OLD = TlsFailure(
    "the server does not speak TLS 1.3", "check the port, and what stands between: a proxy must pass TLS through"
)
OURS = TlsFailure(
    "the server does not accept this client's certificate",
    "give one that is signed by an authority of the server's: `tls_cert` and `tls_key`",
)
SILENT = TlsFailure(
    "no answer in time",
    "check the port, and whether the server there speaks TLS; or allow more time: `timeout` SECONDS",
)

#: X509_V_ERR codes of OpenSSL (x509_vfy.h): what is wrong with the server's certificate.
CERTIFICATE: dict[int, TlsFailure] = {
    9: TlsFailure("the server's certificate is not valid yet", "check the clocks of both machines"),
    10: TlsFailure("the server's certificate has expired", "renew it at the server; check the clock here"),
    **dict.fromkeys((18, 19, 20, 21), TlsFailure("the server's certificate is of an unknown authority", TRUST)),
    26: TlsFailure("the certificate shown there is not a server's", "give the server a certificate for servers"),
    47: TlsFailure("the server's authority may not sign for this name", "make a certificate with the server's name"),
}

#: Reasons of OpenSSL for other errors: the alerts that the server sends, and what is no TLS at all.
REASONS: dict[str, TlsFailure] = {
    **dict.fromkeys(("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"), PLAIN),
    **dict.fromkeys(("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE"), OLD),
    **dict.fromkeys(
        (
            "TLSV1_ALERT_UNKNOWN_CA",
            "TLSV13_ALERT_CERTIFICATE_REQUIRED",
            "SSLV3_ALERT_BAD_CERTIFICATE",
            "SSLV3_ALERT_CERTIFICATE_EXPIRED",
            "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        ),
        OURS,
    ),
}


def tls_failure(error: Exception, name: str) -> TlsFailure:
    """Return what a failed handshake of a client means; ``name``: what the server's certificate had to be for."""
    if isinstance(error, TimeoutError):
        return SILENT
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in (62, 64):  # another host name, another IP address
            return TlsFailure(
                f"the server's certificate is not for {name}",
                "connect by a name that it is for, or say which: `server_name` NAME",
            )
        other = TlsFailure(f"the server's certificate cannot be verified: {error.verify_message}", TRUST)
        return CERTIFICATE.get(error.verify_code, other)
    reason = getattr(error, "reason", None) or ""
    return REASONS.get(reason, TlsFailure(str(error), "check the certificates on both sides"))
