"""What a worker begins a student with: the teacher, its channels, and its ReLUs while they fade."""

import pytest
import torch

from deepreduce.data import snapshot
from deepreduce.jobs.job import Job, Origin, _annealed, build, perform
from deepreduce.jobs.spec import JobSpec, network_digest
from deepreduce.jobs.store import JobStore
from deepreduce.networks import ModelSource
from deepreduce.reduce.annealed_relu import AnnealedReLU
from deepreduce.train import make_recipe
from small_data import stripes_dataset

DATA = stripes_dataset()
SOURCE = ModelSource("resnet6", 0.125)
DIGEST = network_digest(SOURCE.build(DATA.input_shape, 2, 0))
QUICK = make_recipe("quick", epochs=2, crop_padding=1)
# So slow that the first weights are still there at the end.
STILL = {"epochs": 1, "learning_rate": 1e-9, "momentum": 0.0, "weight_decay": 0.0, "crop_padding": 1}


def spec(point, recipe, teacher=None) -> JobSpec:
    return JobSpec(DIGEST, SOURCE.name, point, DATA.digest, recipe, 0, teacher)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A store with a trained teacher, and how a student of it is trained."""
    root = tmp_path_factory.mktemp("work")
    snapshot.save(DATA, root / "data.safetensors")
    teacher = spec("full", QUICK)

    def train(wanted: JobSpec, needs=()) -> dict[str, torch.Tensor]:
        perform(Job(wanted, SOURCE, root / "jobs", root / "data.safetensors", needs), "cpu", lambda *_: None)
        return JobStore(root / "jobs").weights(wanted.digest)

    weights = train(teacher)

    def student(point, **changes):
        wanted = spec(point, make_recipe("quick", **STILL, **changes), teacher.digest)
        return build(SOURCE, wanted, DATA), train(wanted, (Origin(teacher, SOURCE),))

    return weights, student


def learned(weights):
    return {name: value for name, value in weights.items() if not name.endswith(("_mean", "_var", "_tracked"))}


@pytest.mark.parametrize("point", ["S2+S3", "S3, rho=0.5"])
@pytest.mark.parametrize("anneal", [0.0, 1.0])
def test_a_warm_student_begins_as_its_teacher(place, point, anneal):
    teacher, student = place
    _, warm = student(point, warm_start=True, anneal=anneal)
    assert all(torch.allclose(value, teacher[name], atol=1e-5) for name, value in learned(warm).items())


def test_a_cold_student_begins_anew(place):
    teacher, student = place
    fresh, cold = student("S3", anneal=0.5)
    own = fresh.state_dict()
    assert all(torch.allclose(value, own[name], atol=1e-5) for name, value in learned(cold).items())
    assert not torch.allclose(cold["body.conv1.weight"], teacher["body.conv1.weight"], atol=1e-3)


@pytest.mark.parametrize("anneal", [0.0, 0.5])
def test_a_narrow_student_begins_with_channels_of_its_teacher(place, anneal):
    teacher, student = place
    _, warm = student("S3, alpha=0.5", warm_start=True, anneal=anneal)
    ours, theirs = (weights["body.conv1.weight"].flatten(1) for weights in (warm, teacher))
    nearest = torch.cdist(ours, theirs).min(1)
    assert len(ours) == len(theirs) // 2 and len(nearest.indices.unique()) == len(ours)
    assert float(nearest.values.max()) < 1e-4


@pytest.mark.parametrize(
    ("begun", "point", "fade"),
    [("full", "S3", 4), ("S2+S3", "S3", 1), ("S3", "S3", 0), ("S3", "S3, rho=0.5", 0), ("S2+S3", "S3, relus=9", 1)],
)
def test_only_relus_of_the_origin_fade(tmp_path, begun, point, fade):
    wanted = spec(point, make_recipe("quick", anneal=0.5))
    job = Job(wanted, SOURCE, tmp_path, tmp_path)
    network, gradual = _annealed(job, build(SOURCE, wanted, DATA), DATA, build(SOURCE, spec(begun, QUICK), DATA))
    assert len(gradual) == bool(fade)
    fading = [layer for layer in network.modules() if isinstance(layer, AnnealedReLU)]
    assert sum(layer.fade.c > 0 for layer in fading) == fade
