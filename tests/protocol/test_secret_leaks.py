"""No secret in anything that a service writes: logs at DEBUG, errors and their causes, events, counters, stores."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from logging_party import TOKEN

PARTY = Path(__file__).parents[1] / "support" / "logging_party.py"


def forms(secret: bytes) -> set[bytes]:
    """How it could be written: as it is, in hexadecimal, in base64 at any offset, as Python shows it, as numbers."""
    shifted = [base64.b64encode(b"\0" * lead + secret)[4 if lead else 0 : -4] for lead in range(3)]
    found = {secret, secret.hex().encode(), secret.hex().upper().encode(), *shifted}
    found |= {one.translate(bytes.maketrans(b"+/", b"-_")) for one in shifted}
    found |= {
        repr(secret)[2:-1].encode(),
        str(list(secret)).encode()[1:-1],
        json.dumps(secret.decode("latin1")).encode()[1:-1],
    }
    if len(secret) % 8 == 0:
        numbers = [int.from_bytes(secret[i : i + 8], "little") for i in range(0, len(secret), 8)]
        found |= {str(n).encode() for n in numbers if n > 10**9}  # long enough not to be there by chance
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path, authority = tmp_path_factory.mktemp("loud"), trustme.CA()
    authority.cert_pem.write_to_path(path / "ca.pem")
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(path / "server.key")
    issued.cert_chain_pems[0].write_to_path(path / "server.pem")
    return path


def told(folder, leak, store_key):
    """(names of secrets that were found, all names, what was told)"""
    done = subprocess.run([sys.executable, PARTY, folder, leak], capture_output=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    secrets = {name: bytes.fromhex(text) for name, text in json.loads(done.stdout).items()}
    secrets |= {"token": TOKEN.encode(), "store key": store_key.read_bytes()}
    said = done.stderr + b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    return (
        {name for name, secret in secrets.items() if any(form in said for form in forms(secret))},
        secrets,
        done.stderr,
    )


def test_nothing_secret_is_told(folder, store_key):
    found, secrets, said = told(folder, "", store_key)
    assert found == set()
    # All of it was there, and all went wrong.
    for part in ("identity", "image", "b'batch'", "delta", "seed", "input_mask", "labels", "rho", "linear/c"):
        assert any(part in name for name in secrets), part
    for text in (b"access denied", b"damaged", b"the connection", b"KeyError", b"session failed: TypeError"):
        assert text in said, text
    assert (folder / "runs.txt").stat().st_size > 100
    assert b"deepreduce_predictions_total" in (folder / "metrics.txt").read_bytes()
    assert b"predicted" in (folder / "events.json").read_bytes()


def test_a_planted_leak_is_found(tmp_path, folder, store_key):
    for name in ("ca.pem", "server.key", "server.pem"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert "identity" in told(tmp_path, "leak", store_key)[0]
