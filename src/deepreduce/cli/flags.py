"""Settings that the library's messages name, `` `image_size` ``, as options of the verb that runs: ``--image-size``."""

from __future__ import annotations

import re
import sys

import typer

_commands: dict[str, dict[str, str]] = {}  # verb -> setting -> option


def learn_options(app: typer.Typer) -> None:
    """Note the options of all verbs, for `with_flags`."""
    for verb, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]  # a group's
        verbs = [command, *getattr(command, "commands", {}).values()]  # a group's, as of `deepreduce store`
        options = [option for one in verbs for option in one.params]
        off = {f"{option.name}=False": option.secondary_opts[0] for option in options if option.secondary_opts}
        _commands[verb] = {option.name: option.opts[0] for option in options} | off


def with_flags(text: str, verb: str | None = None) -> str:
    """Return a message with the settings that it names as ``verb``'s options.

    A setting that is off, `` `private=False` ``, becomes the option that turns it off. ``verb``: by default the one
    that runs. A name that is no option of it stays as it is.
    """
    flags = _commands.get(verb or next((word for word in sys.argv[1:] if word in _commands), ""), {})
    return re.sub(r"`([a-z][a-z0-9_]*(?:=False)?)`", lambda found: flags.get(found[1], found[0]), text)
