"""Settings of a server: checked once, then fixed."""

from dataclasses import FrozenInstanceError, fields

import pytest

from deepreduce.errors import SettingError
from deepreduce.inference import Quota, Quotas, Server, ServerSettings
from deepreduce.inference.server.settings import _BOUNDS
from plan_samples import conv, plan_of


@pytest.mark.parametrize("name", _BOUNDS)
def test_bounds_hold(name):
    least, most = _BOUNDS[name]
    for value in (least, most):
        assert getattr(ServerSettings(**{name: value}), name) == value
    for value in (least - 1, most + 1, True, 1.0, "1"):
        with pytest.raises(SettingError, match=name):
            ServerSettings(**{name: value})


def test_settings_do_not_change():
    settings = ServerSettings()
    for field in fields(settings):
        with pytest.raises(FrozenInstanceError):
            setattr(settings, field.name, None)


def test_secrets_are_not_shown():
    settings = ServerSettings(token="open sesame", quotas=Quotas(Quota(connections=3)))
    assert "sesame" not in repr(settings) and "sesame" not in str(settings.shown())
    assert settings.shown()["quota"] == {"connections": 3}


def test_other_settings_are_refused():
    with pytest.raises(SettingError, match="ServerSettings"):
        Server(plan_of(conv("c", "input", 2)), {}, {"threads": 2})
