"""Quotas as people write them: ``--quota predictions=1000/24h``, and a TOML file with one for each identity.

[default]
predictions = "1000/24h"       # images within any 24 hours
total = 100000                 # images ever
prepared = 1000000             # images ever prepared, used or not
ready = 50                     # batches prepared and not used
ready_bytes = "4GB"
connections = 4

[identity.alice]
predictions = "50/1h"
total = "unlimited"
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SettingError, nearest
from ..units import TIME, parse_quantity
from .options import parse_pairs
from .units import parse_bytes

if TYPE_CHECKING:
    from ..inference.access import Quota, Quotas

UNLIMITED = "unlimited"
KEYS = ("predictions", "total", "prepared", "ready", "ready_bytes", "connections")


def read_quotas(texts: Sequence[str] | None, path: Path | None) -> Quotas:
    """Return the options, over which the file's [default] goes, over which an identity's own goes. Raises
    `SettingError`.
    """
    from ..inference import is_usable_name
    from ..inference.access import Quota, Quotas

    pairs = {key.replace("-", "_"): value for key, value in parse_pairs(texts, "--quota").items()}
    default = _changed(Quota(), pairs, "--quota")
    own: dict[str, Quota] = {}
    if path is not None:
        content = _read(path)
        default = _changed(default, _table(content, "default", path), f"{path} [default]")
        for name, values in _table(content, "identity", path).items():
            if not is_usable_name(name) and name != "anonymous":
                raise SettingError(f"{path}: {name!r:.40} cannot name an identity", "write it as in the certificate")
            if not isinstance(values, Mapping):
                raise SettingError(f"{path}: identity.{name} is not a table", f'write [identity."{name}"]')
            own[name] = _changed(default, values, f"{path} [identity.{name}]")
    return Quotas(default, own)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingError(f"the quotas {path} cannot be read: {error.strerror or error}", "check the path") from None
    except (ValueError, RecursionError) as error:
        hint = "docs/operate/service.md shows an example"
        raise SettingError(f"the quotas {path} are not TOML: {error}", hint) from None
    if unknown := set(content) - {"default", "identity"}:
        raise SettingError(f"{path} has an unknown table {min(unknown)!r:.40}", "known: default, identity")
    return content


def _table(content: dict[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, Mapping):
        raise SettingError(f"{path}: {name} is not a table", f"write [{name}]")
    return table


def _changed(quota: Quota, values: Mapping[str, Any], where: str) -> Quota:
    changes: dict[str, Any] = {}
    for key, value in values.items():
        if key not in KEYS:
            raise SettingError(f"{where}: unknown quota {key!r:.40}", nearest(key, KEYS))
        what = f"{where}: {key}"
        if value == UNLIMITED:
            changes[key] = None
        elif key == "predictions":
            changes["predictions"], changes["window_s"] = _rate(value, what)
        else:
            changes[key] = _count(value, what, key == "ready_bytes")
    return replace(quota, **changes)


def _rate(value: object, what: str) -> tuple[int, float]:
    count, slash, time = value.partition("/") if isinstance(value, str) else ("", "", "")
    with contextlib.suppress(ValueError):
        images, seconds = int(count), parse_quantity(time if time[:1].isdigit() else f"1{time.strip()}", TIME)
        if slash and 0 <= images < 10**18 and seconds >= 1:
            return images, seconds
    raise SettingError(f"{what} is {value!r:.40}", 'write images per time, as "1000/24h" or "5/min"')


def _count(value: object, what: str, size: bool) -> int:
    if size and isinstance(value, str):
        return parse_bytes(value, what)
    if isinstance(value, str) and re.fullmatch(r"\d{1,18}", value.strip()):
        return int(value)
    if type(value) is int and value >= 0:
        return value
    raise SettingError(f"{what} is {value!r:.40}", f'write a whole number, or "{UNLIMITED}"')
