"""The unit of systemd and the container file fit the command line and each other (packaging/try_*: and they run)."""

import configparser
import json
import re
import shlex
from pathlib import Path

import pytest
import typer.main

from deepreduce.cli.main import app
from deepreduce.cli.server_options import GRACE_S

PACKAGING = Path(__file__).resolve().parents[2] / "packaging"
SERVE = typer.main.get_command(app).commands["serve"]


def unit():
    """Every value of every key of [Service], in order."""
    found = {}
    text = (PACKAGING / "deepreduce.service").read_text().replace("\\\n", " ")
    for line in text.partition("[Service]")[2].partition("[Install]")[0].splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value.strip())
    return found


def container_command():
    text = (PACKAGING / "Containerfile").read_text().replace("\\\n", " ")
    return json.loads(re.search(r"^CMD (\[.*\])$", text, re.MULTILINE)[1])


def parsed(arguments):
    """What `deepreduce serve` makes of them; it raises for an unknown option or a bad value."""
    assert arguments[0] == "serve"
    return SERVE.make_context("serve", list(arguments[1:])).params


def service_command(options="--metrics 127.0.0.1:9090"):
    (line,) = unit()["ExecStart"]
    environment = {"DEEPREDUCE_PLAN": "/plan", "DEEPREDUCE_LISTEN": "0.0.0.0:7000", "DEEPREDUCE_OPTIONS": options}
    environment |= {"CREDENTIALS_DIRECTORY": "/run/credentials", "STATE_DIRECTORY": "/var/lib/deepreduce"}
    words = []
    for word in shlex.split(line)[1:]:
        if word == "$DEEPREDUCE_OPTIONS":  # split at spaces; ${...} is not
            words += environment["DEEPREDUCE_OPTIONS"].split()
        else:
            words.append(re.sub(r"\$\{(\w+)\}", lambda match: environment[match[1]], word))
    return words


def test_the_service_starts_the_server_with_options_that_there_are():
    settings = configparser.ConfigParser(interpolation=None)
    settings.read_string("[env]\n" + (PACKAGING / "deepreduce.env").read_text())
    options = parsed(service_command(settings["env"]["DEEPREDUCE_OPTIONS"]))
    assert options["tls_key"] and options["token_file"] and not options["insecure"]
    assert options["store"] == Path("/var/lib/deepreduce/store")
    with pytest.raises(Exception, match="No such option"):
        parsed(service_command("--no-such-option"))


def test_the_container_starts_the_server_with_options_that_there_are():
    options = parsed(container_command())
    assert options["tls_key"] and options["token_file"] and not options["insecure"]
    health = re.search(r"http://([^/]+)/healthz", (PACKAGING / "Containerfile").read_text())[1]
    assert options["metrics"] == health


def test_systemd_waits_longer_than_the_server():
    grace = parsed(service_command())["grace"]
    assert grace <= GRACE_S < float(unit()["TimeoutStopSec"][0])


def test_every_credential_that_is_used_is_loaded():
    loaded = {value.partition(":")[0] for value in unit()["LoadCredential"]}
    (line,) = unit()["ExecStart"]
    used = set(re.findall(r"\$\{CREDENTIALS_DIRECTORY\}/(\S+)", line))
    assert used and used <= loaded
    assert "deepreduce-store-key" in loaded


def test_no_secret_is_in_the_environment_file():
    text = (PACKAGING / "deepreduce.env").read_text()
    assert not re.search(r"(?i)^\s*\w*(token|key|password|secret)\w*\s*=", text, re.MULTILINE)
