"""Training while ReLUs fade: c from the step's number, the best epoch after the end, the same when interrupted."""

import copy
import dataclasses
import sys

import pytest
import torch
from torch import nn

import deepreduce
from deepreduce.networks import ModelSource
from deepreduce.networks.features import with_features
from deepreduce.reduce.annealed_relu import Anneal
from deepreduce.reduce.annealing import anneal_to
from deepreduce.train import accuracy, fit, make_recipe
from deepreduce.train.annealing import Annealing
from deepreduce.train.augment import Normalizer
from deepreduce.train.fit import make_average
from small_data import stripes_dataset

DATA = stripes_dataset()
QUICK = make_recipe("quick", epochs=4, batch_size=32, crop_padding=1, learning_rate=0.05)  # 3 steps an epoch
EVERYTHING = dataclasses.replace(QUICK, anneal=0.5, attention_weight=100.0, ema_decay=0.9, label_smoothing=0.1)
NORMALISE = Normalizer(DATA.mean, DATA.std, torch.device("cpu"), True)


FULL = {seed: ModelSource("resnet6", 0.0625).build(DATA.input_shape, 2, seed) for seed in (0, 5)}


def full(seed: int = 0):
    return copy.deepcopy(FULL[seed])


def fading(point: str = "S3", seed: int = 0):
    return anneal_to(full(seed), point)


class Recorder(Anneal):
    """Remembers every c."""

    def __init__(self, fade: Anneal) -> None:
        self.fade = fade
        self.seen: list[float] = []

    def set(self, c: float) -> None:
        self.seen.append(c)
        self.fade.set(c)


def trained(recipe, seed=0, teacher=None, **options):
    network, fade = fading(seed=seed)
    recorder = Recorder(fade)
    tap = with_features if recipe.attention_weight else None
    result = fit(
        network, DATA, recipe, teacher=teacher, gradual=[Annealing(recorder, recipe.anneal)], tap=tap, **options
    )
    return network, result, recorder.seen


def test_c_falls_linearly_to_nothing():
    """It is set before every step, and so that what is judged after an epoch is what the next step begins with."""
    _, _, seen = trained(dataclasses.replace(QUICK, anneal=0.5))  # over 6 of 12 steps
    assert seen == pytest.approx([max(0.0, 1 - step / 6) for step in range(13)])
    _, _, seen = trained(QUICK)
    assert seen == [0.0] * 13


@pytest.mark.parametrize(("anneal", "first"), [(0.0, 1), (0.25, 1), (0.3, 2), (0.5, 2), (0.6, 3), (1.0, 4)])
def test_the_best_epoch_is_one_after_the_fade_however_good_others_were(monkeypatch, anneal, first):
    falling = iter([90.0, 80.0, 70.0, 60.0])
    monkeypatch.setattr(sys.modules["deepreduce.train.fit"], "accuracy", lambda *_: next(falling))
    _, result, _ = trained(dataclasses.replace(QUICK, anneal=anneal))
    assert (result.best_epoch, result.validation_accuracy) == (first, 100.0 - 10 * first)


@pytest.mark.parametrize(("anneal", "ema_decay"), [(0.5, 0.0), (0.75, 0.9), (1.0, 0.0)])
def test_the_weights_are_the_plain_reduced_networks(anneal, ema_decay):
    """Also those of the average, whose fading ReLUs must be at the same c when it is judged."""
    network, result, _ = trained(dataclasses.replace(QUICK, anneal=anneal, ema_decay=ema_decay))
    assert result.validation_accuracy == max(r.validation_accuracy for r in result.history if r.epoch >= 4 * anneal)
    reduced = deepreduce.reduce_to(full(), "S3")
    reduced.load_state_dict(result.weights)
    for model in (reduced, network):
        assert accuracy(model, DATA.validation, NORMALISE) == pytest.approx(result.validation_accuracy)


class KilledError(Exception):
    pass


def test_interrupted_after_any_epoch_it_ends_the_same(tmp_path):
    recipe = EVERYTHING
    teacher = full(5)
    _, whole, seen = trained(recipe, teacher=teacher)
    for stop in (1, 2):
        path = tmp_path / f"{stop}.ckpt"

        def interrupt(record, stop=stop):
            if record.epoch == stop:
                raise KilledError

        with pytest.raises(KilledError):
            trained(recipe, teacher=teacher, checkpoint=path, on_epoch=interrupt)
        _, resumed, after = trained(recipe, teacher=teacher, checkpoint=path)
        assert after[1:] == seen[3 * stop :]  # set once before the checkpoint was read
        assert resumed.best_epoch == whole.best_epoch
        assert all(torch.equal(resumed.weights[name], value) for name, value in whole.weights.items())
        assert [r.train_loss for r in resumed.history] == [r.train_loss for r in whole.history]


def test_the_averages_decay_warms_up():
    model = nn.Linear(1, 1, bias=False)
    average = make_average(model, make_recipe("paper", ema_decay=0.5))
    assert average is not None
    expected = 0.0
    for t in range(12):
        model.weight.data.fill_(float(t + 1))
        average.update_parameters(model)
        decay = min(0.5, (1 + t) / (10 + t)) if t else 0.0
        expected = decay * expected + (1 - decay) * (t + 1)
        assert float(average.module.weight.detach()) == pytest.approx(expected, rel=1e-5)
    assert make_average(model, make_recipe("paper")) is None


def test_new_switches_off_are_the_same_training():
    plain = fit(deepreduce.reduce_to(full(), "S3"), DATA, QUICK, teacher=full(5))
    network, fade = fading()
    fade.set(0.0)
    switched_off = fit(network, DATA, QUICK, teacher=full(5), tap=with_features)
    with_fade, result, _ = trained(QUICK, teacher=full(5))
    for other in (switched_off, result):
        assert all(torch.equal(other.weights[name], value) for name, value in plain.weights.items())
    assert with_fade.relus == network.relus
