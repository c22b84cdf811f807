"""Simple distinguishers tell neither two images nor two sets of weights apart by their transcripts; planted leaks, yes.

The protocol's randomness is the operating system's, fresh each time. All tests of this file that look for no
difference together raise a false alarm with probability FALSE_ALARM at most, if there is none. transcripts.py here does
the same at length; docs/reference/protocol.md ("What is tested") says what must not be told apart, and why.
"""

from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
from distinguishers import TESTS, distinguish, repeated_blocks
from views import PLAN, SECRET_OF, images, predictions, strings, weights

from deepreduce import _core
from deepreduce.inference.protocol import client_offline
from deepreduce.inference.protocol.nonlinear.table_relu import ReluServer
from deepreduce.plan import run

FALSE_ALARM = 1e-6
COUNT = 80
KINDS = {
    "server": {"UPLOAD", "CHOICES", "PRODUCTS", "INPUT", "ANSWERS"},
    "client": {"RESPONSE", "GARBLED", "LABELS", "RESULT", "decrypted", "opened"},
}
ALL_TESTS = 2 * sum(map(len, KINDS.values())) * TESTS


@pytest.fixture(scope="module", params=["ot", "delphi"])
def seen(request):
    return request.param, predictions(request.param, COUNT, np.random.default_rng(1))


def differences(found, party, most):
    """Tests that tell the classes apart."""
    rng, labels = np.random.default_rng(2), found.classes(party)
    return [
        (kind, name, auc, p)
        for kind, content in strings(found.views[party]).items()
        for name, auc, p in distinguish(content, labels, rng)
        if p < most
    ]


def test_the_pairs_are_what_they_should_be():
    """One function under both sets of weights, which differ everywhere; two images that are far apart."""
    one, other = weights()
    for x in images():
        assert np.array_equal(run(PLAN, one, x)["d"], run(PLAN, other, x)["d"])
    assert all((one[name] != other[name]).mean() > 0.9 for name in ("c.weight", "c.bias", "d.weight"))


@pytest.mark.parametrize("party", SECRET_OF)
def test_kinds_order_and_lengths_are_the_same(seen, party):
    shapes = [view.shape() for view in seen[1].views[party]]
    assert len(shapes) == COUNT
    assert all(shape == shapes[0] for shape in shapes)


@pytest.mark.parametrize("party", SECRET_OF)
def test_they_cannot_be_told_apart(seen, party):
    protocol, found = seen
    missing = set() if protocol == "ot" else {"PRODUCTS", "opened"}
    assert set(strings(found.views[party])) == KINDS[party] - missing
    assert differences(found, party, FALSE_ALARM / ALL_TESTS) == []


@pytest.mark.parametrize("party", SECRET_OF)
def test_nothing_comes_twice(seen, party):
    for kind, content in strings(seen[1].views[party]).items():
        assert repeated_blocks([row.tobytes() for row in content]) == 0, kind


# --- planted leaks: the tests above can fail -------------------------------------------------------------------------


def masks(ring):
    """The client's first mask comes from ``ring`` instead of the operating system."""
    names = {name: getattr(_core, name) for name in dir(_core)}
    return patch.object(client_offline, "_core", SimpleNamespace(**{**names, "random_ring": ring}))


def test_a_mask_of_zeros_is_caught():
    with masks(lambda count, bits: np.zeros(count, np.uint64)):
        found = predictions("delphi", COUNT, np.random.default_rng(1))
    caught = differences(found, "server", FALSE_ALARM / ALL_TESTS)
    assert {"INPUT"} <= {kind for kind, *_ in caught}
    assert {kind for kind, *_ in caught} <= {"INPUT", "UPLOAD"}


def test_a_mask_that_is_used_again_is_caught():
    mask = _core.random_ring(int(np.prod(PLAN.input_shape)), 32)
    with masks(lambda count, bits: mask.copy()):
        found = predictions("delphi", COUNT, np.random.default_rng(1))
    caught = {name for kind, name, *_ in differences(found, "server", FALSE_ALARM / ALL_TESTS) if kind == "INPUT"}
    assert "nearest mean, half 0" in caught
    assert repeated_blocks([view.pieces()["INPUT"] for view in found.views["server"]]) > COUNT


def test_an_activation_that_is_opened_unmasked_is_caught():
    begin = ReluServer.__init__

    def without_rho(self, *arguments, **settings):
        begin(self, *arguments, **settings)
        self._rho[:] = 0

    with patch.object(ReluServer, "__init__", without_rho):
        found = predictions("ot", COUNT, np.random.default_rng(1))
    caught = {kind for kind, *_ in differences(found, "client", FALSE_ALARM / ALL_TESTS)}
    assert caught == {"opened"}
