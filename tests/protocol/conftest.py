"""A server that the tests of a file share."""

import pytest

from sessions import PLAN, TIMEOUT_S, WEIGHTS, serving


@pytest.fixture(scope="module")
def weighed():
    """(server, port) of the small plan; faults are chosen by patching the stream that it makes."""
    with serving(PLAN, WEIGHTS, timeout_s=TIMEOUT_S, idle_s=TIMEOUT_S) as (party, port):
        yield party, port
