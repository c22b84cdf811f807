"""What `evaluate` says of private answers."""

import numpy as np

from deepreduce.cli.evaluation import Evaluation
from deepreduce.inference import Classification, Phase, Run
from deepreduce.inference.transport.meter import OpPhase


def answer(*logits, seconds=1.0):
    online = Phase(seconds=seconds)
    online.ops["c"] = OpPhase(sent_bytes=80, received_bytes=400)
    return Classification(np.array(logits), ("cat", "dog"), Run(online=online))


def test_images_of_a_batch_share_what_it_took():
    answers = [answer(1.0, 0.0, seconds=2.0), answer(0.0, 1.0, seconds=2.0)]
    alone, shared = (Evaluation(("cat", "dog"), answers, [0, 0], [None, None], size).summary() for size in (1, 4))
    assert (alone["online_seconds"], alone["down_bytes"], alone["up_bytes"]) == (2.0, 400.0, 80.0)
    assert (shared["online_seconds"], shared["down_bytes"], shared["up_bytes"]) == (0.5, 100.0, 20.0)


def test_only_what_is_there_is_compared():
    private = [answer(1.0, 0.0), None, answer(0.0, 1.0)]
    clear = [answer(1.0, 0.0), None, answer(2.0, 1.0)]
    found = Evaluation(("cat", "dog"), private, [0, 1, None], clear).summary()
    assert (found["images"], found["answered"]) == (3, 2)
    assert found["accuracy"] == found["clear_accuracy"] == {"count": 1, "of": 1}
    assert found["agreement"] == found["equal"] == {"count": 1, "of": 2}
    assert found["largest_difference"] == 2.0
    assert found["confusion"] == [[1, 0], [0, 0]]
