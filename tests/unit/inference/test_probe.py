"""The rate of a link from when frames came: steady, in bursts, together, or one by one."""

import numpy as np
import pytest

from deepreduce.errors import SessionError
from deepreduce.inference.transport.probe import FRAME_BYTES, MANY, RATES, answer_probe, rate_of

FRAME_BITS = 8 * (FRAME_BYTES + 8)


@pytest.mark.parametrize("rate", [1e6, 1e8, 1e9])
@pytest.mark.parametrize("round_trip", [0.0005, 0.04])
def test_frames_that_follow_each_other(rate, round_trip):
    arrived = round_trip + np.arange(16) * FRAME_BITS / rate
    assert rate_of(arrived, float(arrived[0])) == pytest.approx(rate)


@pytest.mark.parametrize("rate", [1e7, 1e8, 1e9])
def test_the_pauses_of_slow_start_do_not_count(rate):
    """Bursts of 2, 4, 8 and 16 frames, each a round trip after the one before."""
    arrived = [0.04 * burst + i * FRAME_BITS / rate for burst, size in enumerate((2, 4, 8, 16)) for i in range(size)]
    assert rate_of(arrived, 0.04) == pytest.approx(rate, rel=0.1)


def test_frames_that_arrive_together():
    """Eight at a time, as network cards hand over what has come."""
    arrived = [0.04 + i // 8 * 8 * FRAME_BITS / 1e9 for i in range(MANY)]
    assert rate_of(arrived, 0.04) == pytest.approx(1e9, rel=0.2)


def test_what_cannot_be_is_bounded():
    assert rate_of([0.0] * 8, 0.0) == RATES[1]
    assert rate_of([0.0, 1e6, 2e6], 1.0) == RATES[0]


@pytest.mark.parametrize("frames", [0, MANY + 1, 255])
def test_the_server_sends_no_more_than_many(frames):
    with pytest.raises(SessionError, match=f"{frames} frames"):
        answer_probe(None, np.array([frames], np.uint8))
