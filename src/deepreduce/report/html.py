"""``report.html``: one file with its style, script, charts and plotly inside, which needs no network connection."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

from ..errors import MissingPackageError
from ..units import show_duration, show_seconds
from . import formatting
from .charts.overview import compute_charts, compute_choices
from .views.published import counted
from .views.report import ReportView

_HINT = "pip install 'deepreduce[search]'"
#: The functions of ``formatting.py`` that the template uses.
_FILTERS = ("whole", "short", "percent", "decimal")


def render_html(view: ReportView) -> bytes:
    """Return the page as UTF-8."""
    try:
        import jinja2
        import markupsafe
    except ImportError as error:
        raise MissingPackageError("the report needs jinja2", _HINT) from error
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {name: getattr(formatting, name) for name in _FILTERS}
    environment.filters |= {"duration": show_duration, "seconds": show_seconds}
    environment.globals |= {"times_fewer": formatting.times_fewer, "counted": counted}
    scripts = [_plotly_source(), _resource("report.js")]
    page = environment.from_string(_resource("template.html")).render(
        view=view,
        charts=compute_charts(view),
        choices=compute_choices(view),
        style=markupsafe.Markup(_resource("report.css")),
        scripts=[markupsafe.Markup(script) for script in scripts],
        policy=_policy(scripts),
    )
    return page.encode()


def _policy(scripts: list[str]) -> str:
    """Return the page's content security policy: these scripts and no other, and no connection anywhere.

    Escaping already keeps names from the files out of the markup; this is the second lock on the same door.
    """
    allowed = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"


def _resource(name: str) -> str:
    return _newlines((resources.files(__package__) / name).read_text(encoding="utf-8"))


def _plotly_source() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingPackageError("the report needs plotly", _HINT) from error
    source: Any = get_plotlyjs()
    return _newlines(str(source))


def _newlines(text: str) -> str:
    """Only ``\\n``: a browser reads ``\\r\\n`` in a page as ``\\n``, and the policy's hashes are of what it reads."""
    return text.replace("\r\n", "\n")
