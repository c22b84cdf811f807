"""Settings of a server: checked once, then fixed."""

from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest

from deepreduce.cli.commands import serve
from deepreduce.errors import SettingError
from deepreduce.inference import Quota, Quotas, Server, ServerSettings
from deepreduce.inference.protocol.program import compile_plan
from deepreduce.inference.server.settings import _BOUNDS
from deepreduce.inference.server.workers.fork_server import ForkServer
from deepreduce.inference.server.workers.remote import WorkerError
from plan_samples import conv, plan_of, random_weights


@pytest.mark.parametrize("name", _BOUNDS)
def test_bounds_hold(name):
    least, most = _BOUNDS[name]
    for value in (least, most):
        assert getattr(ServerSettings(**{name: value}), name) == value
    for value in (least - 1, most + 1, True, 1.0, "1"):
        with pytest.raises(SettingError, match=name):
            ServerSettings(**{name: value})


def test_settings_do_not_change():
    settings = ServerSettings(insecure=True)
    for field in fields(settings):
        with pytest.raises(FrozenInstanceError):
            setattr(settings, field.name, None)


def test_secrets_are_not_shown():
    settings = ServerSettings(token="open sesame", quotas=Quotas(Quota(connections=3)), insecure=True)
    assert "sesame" not in repr(settings) and "sesame" not in str(settings.shown())
    assert settings.shown()["quota"] == {"connections": 3}


def test_other_settings_are_refused():
    with pytest.raises(SettingError, match="ServerSettings"):
        Server(plan_of(conv("c", "input", 2)), {}, {"threads": 2})


def test_core_dumps_are_off_before_secrets_are_read(monkeypatch):
    """serve reads the token and the key of its certificate when it checks its options."""
    seen = []

    class Options:
        def checked(self):
            seen.append("secrets")
            raise SettingError("enough")

    monkeypatch.setattr("deepreduce.inference.forbid_core_files", lambda: seen.append("core dumps"))
    with pytest.raises(SettingError, match="enough"):
        serve._serve(Options())
    assert seen == ["core dumps", "secrets"]


def test_a_session_of_a_closed_server_gets_no_preparation_here():
    """Its workers are gone; it must not fall back to weights that this process does not have."""
    plan = plan_of(conv("c", "input", 2))
    server = Server(plan, random_weights(plan, np.random.default_rng(0)), ServerSettings(workers=1, insecure=True))
    served = server.resources.plans[""]
    server.close()
    with pytest.raises(WorkerError):
        served.offline(compile_plan(plan, "delphi", 1), None, None)
    server.close()  # again: nothing happens


def test_a_server_that_cannot_be_made_leaves_no_process(monkeypatch, tmp_path):
    """Its workers' process is started before its tokens are read."""
    closed, close = [], ForkServer.close
    monkeypatch.setattr(ForkServer, "close", lambda self: (closed.append(self), close(self)))
    plan = plan_of(conv("c", "input", 2))
    weights = random_weights(plan, np.random.default_rng(0))
    with pytest.raises(SettingError):
        Server(plan, weights, ServerSettings(workers=1, tokens=tmp_path / "missing", insecure=True))
    assert len(closed) == 1 and not closed[0]._child.alive()
