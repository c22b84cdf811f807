"""`Client.classify`: any number of images of any kind, answered as they come, over a server that goes away."""

import dataclasses
import inspect

import numpy as np
import pytest
from PIL import Image

import deepreduce
import deepreduce.inference
from deepreduce.errors import DataError, SessionError
from deepreduce.inference import Client
from deepreduce.inference.client import AHEAD
from deepreduce.plan import Flatten, Linear, Relu, decode_output, encode_input, normalized, pictures_of, run
from plan_samples import conv, plan_of, random_weights
from sessions import serving

NAMES = ("cat", "dog", "owl")
PLAN = dataclasses.replace(
    plan_of(
        conv("c", "input", 2), Relu("r", ("c",), 8, 30, 2**20), Flatten("f", ("r",)),
        Linear("d", ("f",), 3, True, 12, 8), input_shape=(3, 8, 8),
    ),
    pictures=pictures_of((3, 8, 8), (0.5,) * 3, (0.25,) * 3, NAMES),
)  # fmt: skip
WEIGHTS = random_weights(PLAN, np.random.default_rng(2), bits=7)
PIXELS = np.random.default_rng(1).integers(0, 256, (11, 8, 8, 3)).astype(np.uint8)


def expected(pixels):
    x = encode_input(PLAN, normalized(PLAN, pixels.transpose(2, 0, 1)[None]))
    return list(decode_output(PLAN, run(PLAN, WEIGHTS, x)[PLAN.output])[0])


def best(pixels):
    return NAMES[int(np.argmax(expected(pixels)))]


@pytest.fixture
def client():
    with serving(PLAN, WEIGHTS) as (_, port), Client("127.0.0.1", port, protocol="ot", insecure=True) as party:
        yield party


def test_any_number_of_images_of_any_kind(client, tmp_path):
    Image.fromarray(PIXELS[1]).save(tmp_path / "x.png")
    images = [PIXELS[0], tmp_path / "x.png", Image.fromarray(PIXELS[2]), *PIXELS[3:]]
    answers = client.classify(images)
    for answer, pixels in zip(answers, PIXELS, strict=True):
        logits = np.array(expected(pixels))
        powers = np.exp(logits - logits.max())
        assert np.array_equal(answer.logits, logits)
        assert np.allclose(answer.probabilities, powers / powers.sum())
        assert answer.label == best(pixels) and answer.label in repr(answer)
        assert list(answer.top(2)) == [NAMES[i] for i in np.argsort(-logits)[:2]]
        assert answer.probability == max(answer.top().values())
        assert answer.run.online.received_bytes > 0
    assert client.prepared <= AHEAD


@pytest.mark.parametrize(("count", "batch"), [(7, 3), (1, 3), (0, 1)])
def test_batches_that_are_not_full(count, batch):
    settings = {"batch": batch, "protocol": "ot", "insecure": True}
    with serving(PLAN, WEIGHTS) as (_, port), Client("127.0.0.1", port, **settings) as party:
        answers = party.classify(PIXELS[:count])
    assert [list(answer.logits) for answer in answers] == [expected(pixels) for pixels in PIXELS[:count]]


def test_a_session_that_prepares_within_predictions():
    with serving(PLAN, WEIGHTS) as (_, port), Client("127.0.0.1", port, mode="single", insecure=True) as party:
        assert [answer.label for answer in party.classify(PIXELS[:3])] == [best(pixels) for pixels in PIXELS[:3]]
        assert party.prepared == 0


def test_few_are_prepared_ahead(client):
    """So many images are not prepared at once, and each is read when its turn comes."""
    read, most = [], 0

    def images():
        for pixels in PIXELS:
            read.append(1)
            yield pixels

    for number, _ in enumerate(client.classify_each(images())):
        most = max(most, client.prepared)
        assert len(read) <= number + 1 + AHEAD
    assert most <= AHEAD


def test_what_was_answered_before_an_error_is_kept(client):
    answers = []
    with pytest.raises(DataError, match="image 6"):
        answers.extend(client.classify_each([*PIXELS[:6], "nowhere/image 6.png"]))
    assert [list(answer.logits) for answer in answers] == [expected(pixels) for pixels in PIXELS[:6]]


def test_it_goes_on_over_a_broken_connection(client):
    answers = []
    for number, answer in enumerate(client.classify_each(PIXELS)):
        answers.append(list(answer.logits))
        if number in (2, 5):
            client.abort()
    assert answers == [expected(pixels) for pixels in PIXELS]


def test_a_client_says_what_it_is(client):
    assert client.classes == NAMES
    text = repr(client)
    assert f"127.0.0.1:{client.target.port}" in text and client.plan_digest[:12] in text and "3 classes" in text
    client.close()
    assert "not connected" in repr(client)
    with pytest.raises(SessionError, match="the session is over"):
        client.predict(np.zeros((1, 3, 8, 8)))


def test_names_complete_and_examples_stand_in_docstrings():
    for package in (deepreduce, deepreduce.inference):
        assert set(package.__all__) <= set(dir(package))
    assert {"classify", "classes", "prepare", "predict"} <= set(dir(Client))
    for name in ("classify", "classify_each", "classes"):
        assert ">>> " in inspect.getdoc(getattr(Client, name))
