"""A search on a Ray cluster while a worker, a node and the driver are killed, against the same search undisturbed.

A cluster of four nodes on this machine (a head without cores for jobs, three with two each and scratch folders of their
own), the store on an S3 server (moto) on 127.0.0.1. When three trainings are done a worker in mid-job is killed, at six
the node of another one, at nine the driver (all SIGKILL). Then two drivers are started at once: the same command again,
and one with another folder. Every weight is compared with the search by two processes of one thread each, and every
checkpoint that was put is counted from the S3 server's log.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import moto
import ray
import s3fs
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))
import results_page
from cluster_helper import ray_cluster, raylet_of, workers_of
from deepreduce.jobs.cluster import open_object_store
from s3_server import s3_server

PATIENCE_S = 1800


def search(out: Path, epochs: int, *arguments: str) -> list[str]:
    settings = ["--width=0.0625", "--recipe=quick", f"--epochs={epochs}", "--set=epoch_images=256", "--data=digits"]
    return [sys.executable, "-m", "deepreduce", "search", "resnet6", *settings, f"--out={out}", *arguments]


def finished(objects) -> dict[str, bytes]:
    contents = ((name, objects.read(f"jobs/{name}/metrics.json")) for name in objects.names("jobs"))
    return {name: content for name, content in contents if content is not None}


def wait_for(condition, driver) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert driver.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)


def running(objects, done: dict[str, bytes]) -> list[tuple[str, int, int]]:
    """(digest, worker, raylet) of jobs that have a checkpoint and no result."""
    names = [name for name in objects.names("jobs") if name not in done]
    begun = [name for name in names if any(".ckpt" in file for file in objects.names(f"jobs/{name}"))]
    return [(name, *found) for name in begun for found in workers_of(name)]


def strike(objects, driver, results: int) -> tuple[str, int, int]:
    """A running job, once there are so many results."""
    wait_for(lambda: len(finished(objects)) >= results, driver)
    found: list[tuple[str, int, int]] = []
    wait_for(lambda: found.extend(running(objects, finished(objects))) or found, driver)
    return found[0]


def disturbed(root: Path, epochs: int, cluster, url: str) -> dict:
    """The search on the cluster; what happened."""
    objects, facts = open_object_store(url), {}
    options = ["--executor=ray", f"--ray-address={cluster.address}", f"--store={url}"]
    started = time.monotonic()
    with (root / "driver1.log").open("wb") as log:
        driver = subprocess.Popen(search(root / "a", epochs, *options), stdout=log, stderr=log)
        digest, worker, _ = strike(objects, driver, 3)
        os.kill(worker, signal.SIGKILL)
        facts["worker killed"] = f"job {digest[:8]} after epoch {last_epoch(objects, digest)}"
        digest, _, raylet = strike(objects, driver, 6)
        (node,) = (node for node in cluster.worker_nodes if raylet_of(node) == raylet)
        cluster.remove_node(node, allow_graceful=False)
        facts["node killed"] = f"job {digest[:8]} after epoch {last_epoch(objects, digest)}"
        strike(objects, driver, 9)
        driver.kill()
        driver.wait()
    before = finished(objects)
    facts["driver killed"] = f"with {len(before)} trainings done"
    drivers = {}
    for name in ("a", "b"):
        with (root / f"driver-{name}.log").open("wb") as log:
            drivers[name] = subprocess.Popen(search(root / name, epochs, *options), stdout=log, stderr=log)
    for name, process in drivers.items():
        assert process.wait(PATIENCE_S) == 0, (root / f"driver-{name}.log").read_text()
    after = finished(objects)
    facts["results that changed after they were there"] = sum(after[name] != before[name] for name in before)
    facts["seconds, all drivers"] = f"{time.monotonic() - started:.0f}"
    return facts


def last_epoch(objects, digest: str) -> int:
    numbers = [re.fullmatch(r"epoch-(\d+)\.ckpt", name) for name in objects.names(f"jobs/{digest}")]
    return max((int(match[1]) for match in numbers if match), default=0)


def weights(out: Path) -> dict[str, bytes]:
    content = json.loads((out / "frontier.json").read_text())
    assert content["failed"] == []
    return {n["job"]: (out / "jobs" / n["job"] / "weights.safetensors").read_bytes() for n in content["networks"]}


def checkpoints(log: Path) -> Counter:
    """How often each (job, epoch) was put."""
    found = re.findall(r'"PUT /lab/search/jobs/(\w+)/epoch-(\d+)\.ckpt', log.read_text(errors="replace"))
    return Counter(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--hardware", default=results_page.hardware())
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    root = Path(tempfile.mkdtemp(prefix="deepreduce-cluster-"))
    started = time.monotonic()
    subprocess.run(search(root / "alone", arguments.epochs, "--jobs=2"), check=True, stdout=subprocess.DEVNULL)
    alone_s = time.monotonic() - started
    log = root / "s3.log"
    with log.open("wb") as file, s3_server(file) as bucket, ray_cluster(root, nodes=3, cores=2) as cluster:
        facts = disturbed(root, arguments.epochs, cluster, f"{bucket}/search")
    alone, first, second = (weights(root / name) for name in ("alone", "a", "b"))
    puts = checkpoints(log)
    facts |= {
        "trainings": len(alone),
        "weights that differ from the undisturbed search's": sum(first.get(job) != alone[job] for job in alone),
        "weights that differ between the two drivers": sum(first.get(job) != second.get(job) for job in alone),
        "epochs of the search": len(alone) * arguments.epochs,
        "different epochs put": len(puts),
        "epochs put twice (a killed driver's worker, two drivers at one job)": sum(n - 1 for n in puts.values()),
        "seconds, undisturbed, two processes": f"{alone_s:.0f}",
        "load of the machine at the end (15 min average)": f"{os.getloadavg()[2]:.0f}",
    }
    versions = f"ray {ray.__version__}, s3fs {s3fs.__version__}, moto {moto.__version__}, torch {torch.__version__}"
    settings = f"resnet6 at width 0.0625 on digits, {arguments.epochs} epochs of 256 images; n = 1; {versions}."
    table = results_page.table(["", "value"], [[name, str(value)] for name, value in facts.items()])
    page = results_page.path("cluster", arguments.hardware)
    page.write_text(results_page.head("A search on a cluster that loses its parts", f"{__doc__}\n{settings}") + table)
    print(table, f"wrote {page}")


if __name__ == "__main__":
    main()
