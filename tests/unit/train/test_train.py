"""The loop: what it minimizes, that it repeats, resumes and stops on nonsense."""

import dataclasses
import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deepreduce.data.dataset import Split
from deepreduce.errors import SettingError, TrainingError
from deepreduce.networks import ModelSource
from deepreduce.train import RECIPES, Recipe, accuracy, fit, make_recipe
from deepreduce.train.augment import Augmenter, Batch, Normalizer, cutmix, cutout
from deepreduce.train.distill import hard_loss, objective, soft_loss
from deepreduce.train.evaluate import class_errors, confusion_matrix
from deepreduce.train.fit import Epoch, batches_per_epoch, make_scheduler
from deepreduce.train.onednn import safe_strided_convolutions
from small_data import stripes_dataset

CPU = torch.device("cpu")


DATA = stripes_dataset()
QUICK = make_recipe("quick", epochs=3, batch_size=32, crop_padding=1, learning_rate=0.05)
LONGER = dataclasses.replace(QUICK, epochs=8, batch_size=16)


def net(seed: int = 0) -> nn.Module:
    return ModelSource("resnet6", 0.0625).build(DATA.input_shape, 2, seed)


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_the_paper_recipe_is_the_papers():
    paper = RECIPES["paper"]
    expected = {
        "epochs": 120,
        "batch_size": 128,
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 4e-4,
        "schedule": "step",
        "step_epochs": 30,
        "step_factor": 0.1,
        "crop_padding": 4,
        "flip": True,
        "cutout": 0,
        "cutmix": 0,
        "label_smoothing": 0,
        "ema_decay": 0,
        "kd_temperature": 4,
        "kd_weight": 0.9,
        "kd_weight_on": "hard",
    }
    assert {k: getattr(paper, k) for k in expected} == expected


def test_step_schedule_divides_by_ten_every_thirty_epochs():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)
    scheduler = make_scheduler(optimizer, RECIPES["paper"], steps=2)
    rates = []
    for _ in range(240):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates[:60] == pytest.approx([0.1] * 60)
    assert rates[60:120] == pytest.approx([0.01] * 60)
    assert rates[180:] == pytest.approx([1e-4] * 60)


def test_distillation_weighs_the_term_it_names():
    torch.manual_seed(0)
    logits, teacher, labels = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    batch = Batch(torch.zeros(4, 1, 2, 2), labels)
    hard = F.cross_entropy(logits, labels)
    p = (teacher / 4).softmax(1)
    soft = 16 * (p * (p.log() - (logits / 4).log_softmax(1))).sum(1).mean()
    assert torch.allclose(soft_loss(logits, teacher, 4.0), soft)
    paper = objective(logits, batch, Recipe(kd_weight=0.9, kd_weight_on="hard"), teacher)
    cited = objective(logits, batch, Recipe(kd_weight=0.9, kd_weight_on="soft"), teacher)
    assert torch.allclose(paper, 0.9 * hard + 0.1 * soft)
    assert torch.allclose(cited, 0.1 * hard + 0.9 * soft)
    assert torch.allclose(objective(logits, batch, Recipe(), None), hard)


def test_cutmix_loss_and_share_agree_with_the_pixels():
    g = torch.Generator().manual_seed(3)
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 8, 8).contiguous()
    labels = torch.arange(6) % 3
    for _ in range(20):
        batch = cutmix(images, labels, 1.0, g)
        own = (batch.images == images).double().mean((1, 2, 3))
        swapped = own < 1
        assert torch.allclose(own[swapped], torch.full_like(own[swapped], batch.share))
        pasted = [batch.images[i][batch.images[i] != i].unique() for i in range(6)]
        assert all(len(p) <= 1 and (not len(p) or int(p) % 3 == batch.other_labels[i]) for i, p in enumerate(pasted))
    logits = torch.randn(6, 3)
    mixed = batch.share * F.cross_entropy(logits, labels) + (1 - batch.share) * F.cross_entropy(
        logits, batch.other_labels
    )
    assert torch.allclose(hard_loss(logits, batch, 0.0), mixed)


def window(image, y, x, flipped):
    cut = image[:, y : y + 6, x : x + 6]
    return cut.flip(2) if flipped else cut


def test_crops_and_flips_are_windows_of_the_padded_image():
    split = Split(torch.randint(0, 256, (5, 2, 6, 6), dtype=torch.uint8), torch.zeros(5, dtype=torch.int64))
    recipe = make_recipe("paper", crop_padding=2, channels_last=False)
    augmenter = Augmenter(split, (0.0, 0.0), (1.0, 1.0), recipe)
    padded = F.pad(split.images.float() / 255, (2, 2, 2, 2))
    g = torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(30):
        out = augmenter.batch(torch.arange(5), g).images
        for i in range(5):
            places = {
                (y, x, f)
                for y in range(5)
                for x in range(5)
                for f in (False, True)
                if torch.allclose(out[i], window(padded[i], y, x, f), atol=1e-6)
            }
            assert places
            seen |= places
    assert len(seen) > 40  # of the 50 there are


def test_cutout_erases_one_square():
    images = torch.ones(50, 2, 9, 9)
    out = cutout(images, 3, torch.Generator().manual_seed(0))
    erased = (out == 0).sum((1, 2, 3)) // 2
    assert set(erased.tolist()) <= {4, 6, 9}  # cut off at edges and corners
    assert (erased == 9).any()


def test_normalizer_gives_mean_0_and_deviation_1():
    out = Normalizer(DATA.mean, DATA.std, CPU, True)(DATA.train.images)
    assert abs(float(out.mean())) < 1e-3
    assert abs(float(out.std()) - 1) < 1e-2


def test_learns_and_repeats_exactly():
    first, second = fit(net(), DATA, LONGER), fit(net(), DATA, LONGER)
    assert first.validation_accuracy > 90
    assert same(first.weights, second.weights)
    assert not same(first.weights, fit(net(), DATA, LONGER, seed=1).weights)
    best = max(record.validation_accuracy for record in first.history)
    assert first.validation_accuracy == best
    assert len(first.history) == 8


def test_best_weights_are_the_ones_returned():
    model = net()
    result = fit(model, DATA, QUICK)
    score = accuracy(model, DATA.validation, Normalizer(DATA.mean, DATA.std, CPU, True))
    assert score == pytest.approx(result.validation_accuracy)


class KilledError(Exception):
    pass


@pytest.mark.parametrize(
    "changes", [{}, {"ema_decay": 0.9}, {"optimizer": "adamw", "schedule": "cosine", "cutmix": 1.0}]
)
def test_interrupted_after_any_epoch_ends_the_same(tmp_path, changes):
    recipe = dataclasses.replace(QUICK, **changes)
    teacher = net(5)
    whole = fit(net(), DATA, recipe, teacher=teacher)
    for stop in (1, 2):
        path = tmp_path / f"{stop}.ckpt"

        def interrupt(record, stop=stop):
            if record.epoch == stop:
                raise KilledError

        with pytest.raises(KilledError):
            fit(net(), DATA, recipe, teacher=teacher, checkpoint=path, on_epoch=interrupt)
        heard: list[Epoch] = []
        resumed = fit(net(), DATA, recipe, teacher=teacher, checkpoint=path, on_epoch=heard.append)
        assert [record.epoch for record in heard] == list(range(stop + 1, 4))
        assert same(resumed.weights, whole.weights)
        assert [r.train_loss for r in resumed.history] == [r.train_loss for r in whole.history]


def test_damaged_checkpoint_starts_over(tmp_path):
    path = tmp_path / "last.ckpt"
    whole = fit(net(), DATA, QUICK)
    path.write_bytes(b"not a checkpoint")
    with pytest.warns(UserWarning, match="starts over"):
        assert same(fit(net(), DATA, QUICK, checkpoint=path).weights, whole.weights)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # one bit of a tensor, which torch would not notice
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="not what was written"):
        assert same(fit(net(), DATA, QUICK, checkpoint=path).weights, whole.weights)


def test_teacher_and_student_see_the_same_view():
    seen: list[torch.Tensor] = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = net()

        def forward(self, x):
            seen.append(x.detach().clone())
            return self.inner(x)

    fit(Spy(), DATA, dataclasses.replace(QUICK, epochs=1), teacher=Spy())
    views = [x for x in seen if len(x) == 32]  # training batches: student, teacher, student, teacher ...
    assert len(views) == 6
    assert all(torch.equal(a, b) for a, b in zip(views[::2], views[1::2], strict=True))
    assert not torch.equal(views[0], views[2])


def test_a_loss_that_is_no_number_is_an_error():
    recipe = dataclasses.replace(QUICK, learning_rate=1e3, momentum=0.99, schedule="step")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    with pytest.raises(TrainingError, match="epoch"):
        fit(model, DATA, dataclasses.replace(recipe, epochs=30))


def test_narrow_strided_convolutions_keep_clear_of_the_onednn_bug():
    layers = nn.Conv2d(4, 8, 1, stride=2), nn.Conv2d(8, 8, 3, 2), nn.Conv2d(8, 32, 1), nn.Conv2d(32, 4, 1, 2)
    model, x = nn.Sequential(*layers), torch.randn(3, 4, 33, 32)
    expected = model(x)
    with safe_strided_convolutions(model, CPU):
        assert ["forward" in vars(m) for m in model] == [True, False, False, False]
        assert torch.allclose(model(x), expected, atol=1e-6)
    assert not any("forward" in vars(m) for m in model)
    with safe_strided_convolutions(model, torch.device("cuda")):
        assert not any("forward" in vars(m) for m in model)


def test_training_a_narrow_network_at_64_pixels_does_not_corrupt_memory():
    """Seen to crash in most runs before: 4 channels, 1x1, stride 2, channels-last."""
    code = (
        "import torch\nfrom deepreduce.data.dataset import Split, assemble\n"
        "from deepreduce.networks import ModelSource\n"
        "from deepreduce.train import fit, make_recipe\ntorch.set_num_threads(1)\n"
        "def s(n): return Split(torch.randint(0, 256, (n, 3, 64, 64), dtype=torch.uint8), torch.arange(n) % 2)\n"
        "data = assemble('x', ('a', 'b'), s(512), s(4), s(4))\n"
        "net = ModelSource('resnet6', 0.0625).build(data.input_shape, 2)\n"
        "fit(net, data, make_recipe('quick', epochs=2, batch_size=128))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_bf16_trains():
    result = fit(net(), DATA, dataclasses.replace(QUICK, precision="bf16"))
    assert math.isfinite(result.history[-1].train_loss)


def test_a_last_batch_of_one_image_is_left_out():
    assert batches_per_epoch(97, 32) == 3
    assert batches_per_epoch(98, 32) == 4
    assert batches_per_epoch(1, 32) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epochs": 0}, "epochs 0 is not in"),
        ({"epochs": -3}, "epochs -3"),
        ({"epochs": "ten"}, "not a int"),
        ({"optimizer": "sdg"}, "did you mean 'sgd'"),
        ({"kd_weight": 2}, "kd_weight 2"),
        ({"learningrate": 1}, "did you mean 'learning_rate'"),
        ({"flip": "maybe"}, "not a bool"),
        ({"learning_rate": float("nan")}, "learning_rate nan"),
    ],
)
def test_bad_settings(changes, reason):
    with pytest.raises(SettingError, match=reason):
        make_recipe("paper", **changes)
    with pytest.raises(SettingError, match="did you mean 'paper'"):
        make_recipe("papr")


def test_errors_by_class_are_counted():
    """Against a count by hand, one image after the other; of equals the first class is named."""
    labels, found = torch.tensor([0, 0, 0, 0, 2, 2, 1]), torch.tensor([0, 2, 1, 1, 2, 0, 1])
    logits = torch.nn.functional.one_hot(found, 4).float()

    class Fixed(torch.nn.Module):
        def forward(self, images):
            return logits[images[:, 0, 0, 0].long()]

    images = torch.arange(7, dtype=torch.uint8).view(7, 1, 1, 1)
    confusion = confusion_matrix(Fixed(), Split(images, labels), lambda x: x, 4)
    expected = [[0] * 4 for _ in range(4)]
    for label, guess in zip(labels.tolist(), found.tolist(), strict=True):
        expected[label][guess] += 1
    assert confusion.tolist() == expected
    assert class_errors(confusion) == {
        "images": [4, 1, 2, 0],
        "correct": [1, 1, 1, 0],
        "taken_for": [1, None, 0, None],
        "taken_for_images": [2, 0, 1, 0],
    }
