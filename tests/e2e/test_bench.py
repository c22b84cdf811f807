"""``deepreduce bench``: two processes, real sockets, tiny plans."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from deepreduce.benchmark.parties import Party, peak_rss_bytes
from deepreduce.benchmark.run import BenchOptions, bench, errors, sample_images
from deepreduce.errors import SessionError, SettingError
from deepreduce.inference.subprocess_call import Child
from deepreduce.plan import digest, predict, read_plan, run, write_plan, write_weights
from plan_samples import conv, plan_of
from random_plans import plan_with_mask

KEYS = {
    *("relus", "online", "offline", "us_per_relu", "floor_us_per_relu", "rescale", "max_error_lsb", "peak_rss_bytes"),
    *("ops", "setup", "plan_digest", "protocol", "network", "threads", "cpu"),
}


def command(*arguments, **options):
    done = [sys.executable, "-m", "deepreduce", "bench", *arguments]
    return subprocess.run(done, capture_output=True, text=True, timeout=300, check=False, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    plan, weights = plan_with_mask()
    write_plan(folder / "plan.json", plan)
    write_weights(folder / "weights.safetensors", plan, weights)
    return folder


def assert_as_predicted(result):
    for part in (
        *(result[p] for p in ("offline", "online")),
        *(op[p] for op in result["ops"] for p in ("offline", "online")),
    ):
        for key in {"down_bytes", "up_bytes", "rounds"} & part.keys():
            assert part[key] == part[f"predicted_{key}"]


def test_merging_leaves_nothing_to_rescale():
    done = command("resnet6", "--point", "S2+S3", "--width", "0.125", "--image", "16", "--inferences", "1", "--json")
    result = json.loads(done.stdout)
    assert result["merged"] and result["rescale"]["elements"] == 0 and result["relus"] == 16 * 8 * 8 + 32 * 4 * 4
    assert_as_predicted(result)


@pytest.mark.parametrize("protocol", ["ot", "delphi"])
def test_a_network_by_name(protocol, tmp_path):
    out = tmp_path / "run.json"
    arguments = ("resnet6", "--point", "S2+S3", "--width", "0.125", "--classes", "10", "--image", "16")
    more = ("--no-merge", "--protocol", protocol, "--inferences", "2", "--json", "--out", str(out))
    done = command(*arguments, *more)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result == json.loads(out.read_text())
    assert result.keys() >= KEYS
    assert (result["protocol"], result["network"], result["threads"]) == (protocol, "none", 1)
    assert result["relus"] == 16 * 8 * 8 + 32 * 4 * 4 == sum(op["relus"] for op in result["ops"])
    assert result["rescale"]["elements"] == sum(op["rescales"] for op in result["ops"]) > 0
    assert_as_predicted(result)
    seconds = [result["online"]["seconds"], result["offline"]["seconds"], result["rescale"]["seconds"]]
    assert all(0 < value < 60 for value in seconds)
    assert result["us_per_relu"] * result["relus"] / 1e6 < max(result["spread"]["online"])
    assert result["us_per_relu"] > result["floor_us_per_relu"] > 0
    assert all(10e6 < result["peak_rss_bytes"][side] < 2e9 for side in ("client", "server"))
    assert result["max_error_lsb"] == 0


def test_a_plan_folder_over_a_shaped_network(folder):
    result = bench(folder, BenchOptions(protocol="delphi", inferences=1, network="100Mbit,30ms", batch=2))
    assert result["max_error_lsb"] == 0
    assert_as_predicted(result)
    assert result["online"]["seconds"] >= 0.030 * result["online"]["rounds"]
    plan = read_plan(folder / "plan.json")
    assert result["plan_digest"] == digest(plan)
    assert result["relus"] == predict(plan, batch=2).total.relus


def test_the_protocol_of_the_link(folder):
    """Few ReLUs and long round trips: garbled circuits. The plan is laid out for the link."""
    result = bench(folder, BenchOptions(protocol="auto", inferences=1, network="1Gbit,60ms", prefer="online"))
    assert result["protocol"] == "delphi"
    assert_as_predicted(result)
    slow = bench(folder, BenchOptions(protocol="auto", inferences=1, network="20Mbit,1ms"))
    assert (slow["protocol"], slow["link_rate"]) == ("ot", 2 * 10**7)
    assert_as_predicted(slow)


def test_tables_for_people(folder):
    done = command(str(folder), "--inferences", "1", "--threads", "2", "--mode", "single")
    assert done.returncode == 0, done.stderr
    assert "every op are the predicted ones" in done.stdout
    assert "times the floor" in done.stdout
    assert "answers: equal to the reference\n" in done.stdout
    assert "1 inference of 1 image, 2 threads per party" in done.stdout


def test_plans_run_without_torch(folder, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = command(str(folder), "--inferences", "1", "--json", env=environment)
    assert done.returncode == 0, done.stderr
    done = command("resnet6", env=environment)
    assert done.returncode == 2
    assert "a plan of resnet6 is made with torch" in done.stderr


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_tls(folder):
    result = bench(folder, BenchOptions(protocol="delphi", inferences=1, tls=True))
    assert result["max_error_lsb"] == 0
    assert_as_predicted(result)


def test_progress_is_told_in_order(folder):
    told = []
    bench(folder, BenchOptions(inferences=1), lambda what, done, total: told.append(what))
    steps = ["measure the floors", "prepare the model", "connect", "inference", "check against the reference"]
    assert [what for what in told if what in steps] == steps


def test_a_plan_without_relus(tmp_path):
    plan = plan_of(conv("only", "input", 3))
    write_plan(tmp_path / "plan.json", plan)
    rng = np.random.default_rng(0)
    weights = {"only.weight": rng.integers(-9, 9, (3, 2, 3, 3)).astype(np.int16), "only.bias": np.arange(3)}
    write_weights(tmp_path / "weights.safetensors", plan, weights)
    result = bench(tmp_path, BenchOptions(inferences=1))
    assert result["relus"] == result["max_error_lsb"] == 0
    assert result["us_per_relu"] is result["floor_us_per_relu"] is None


def test_errors_are_measured(folder):
    plan, weights = plan_with_mask()
    images = sample_images(plan, BenchOptions(inferences=2))
    answers = np.stack([run(plan, weights, x)[plan.output] for x in images])
    assert errors(plan, weights, images, answers)[0] == 0
    answers[1, 0].flat[0] -= 7
    worst, peak = errors(plan, weights, images, answers)
    assert worst == 7
    assert peak == max(np.abs(run(plan, weights, x)[plan.output]).max() for x in images)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (BenchOptions(inferences=0), "inferences is 0"),
        (BenchOptions(network="dsl"), "network 'dsl'"),
        (BenchOptions(threads=0), "threads is 0"),
    ],
)
def test_settings_out_of_range_are_refused(folder, options, message):
    with pytest.raises(SettingError, match=message):
        bench(folder, options)


def test_what_goes_wrong_in_a_party_is_told(folder):
    with pytest.raises(SessionError, match="client: unknown mode 'magic'"):
        bench(folder, BenchOptions(mode="magic", inferences=1))


def dies(pipe, start):
    os._exit(start)


def waits(pipe, start):
    pipe.recv()


def test_a_party_that_dies_is_noticed_by_whoever_waits():
    with (
        Party("server", dies, 3) as server,
        Party("client", waits, None) as client,
        pytest.raises(SessionError, match="the server process ended with code 3"),
    ):
        client.receive(lambda *_: None, server)


def test_a_missing_plan_is_one_line(tmp_path):
    done = command(str(tmp_path))
    assert done.returncode == 2
    assert "plan.json cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
    both = command(str(tmp_path), "--point", "S2")
    assert both.returncode == 2 and "are for networks" in both.stderr
    assert "unknown network" in command("resnet19").stderr


def grows(pipe):
    before = peak_rss_bytes()
    block = np.ones(1 << 24)
    during = peak_rss_bytes()
    del block
    pipe.send((before, during, peak_rss_bytes()))


def test_peak_memory_is_that_of_one_process():
    ballast = np.ones(1 << 25)  # of the parent: not the child's
    with Child(grows) as child:
        before, during, after = child.pipe.recv()
    assert before < ballast.nbytes
    assert 0.9 * 2**27 < during - before < 1.2 * 2**27
    assert after > during - 2**20  # the kernel counts in batches of pages
