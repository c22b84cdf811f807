"""A Ray cluster on this machine: a head without cores for jobs, and nodes that share no scratch folder."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepreduce.jobs.cluster.ray_executor import _import_ray

ENVIRONMENT = {
    "RAY_memory_monitor_refresh_ms": "0",  # what else runs on a busy machine is no reason to kill our workers
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_worker_niceness": "0",  # else they starve there
    "OMP_NUM_THREADS": "1",
}


@contextlib.contextmanager
def ray_cluster(root: Path, nodes: int, cores: int = 1) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` of ``nodes`` nodes with ``cores`` each; its ports ask for a secret token."""
    os.environ.update(ENVIRONMENT)
    _import_ray(locked=True)
    from ray.cluster_utils import Cluster

    quiet = {"include_dashboard": False, "include_log_monitor": False, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "no_monitor": True, **quiet})
    try:
        for number in range(nodes):
            scratch = {"DEEPREDUCE_SCRATCH": str(root / f"node{number}")}
            cluster.add_node(num_cpus=cores, env_vars=scratch, **quiet)
        yield cluster
    finally:
        cluster.shutdown()


def workers_of(digest: str) -> list[tuple[int, int]]:
    """(process, its raylet's process) of the Ray tasks that do the job."""
    found = []
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if path.name.isdigit() and f"ray::deepreduce {digest[:8]}" in (path / "cmdline").read_text():
                status = (path / "status").read_text()
                found.append((int(path.name), int(status.partition("PPid:")[2].split()[0])))
    return found


def raylet_of(node: Any) -> int:
    """The process of a node's raylet."""
    return node.all_processes["raylet"][0].process.pid
