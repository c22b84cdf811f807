"""Options that say where trainings run, shared by the verbs that train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import SettingError, nearest

if TYPE_CHECKING:
    from ..jobs.executors import Executor

JobsOption = Annotated[
    int | None,
    typer.Option(
        help="Trainings at once; cores and GPUs are divided among them.",
        show_default="1; on a cluster what it has room for",
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:0 ...; on a cluster --gpus-per-job says it.")]
ExecutorOption = Annotated[
    str, typer.Option(help="processes of this machine, or ray: tasks on a cluster (docs/operate/cluster.md).")
]
RayAddressOption = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="The Ray cluster.", show_default="$RAY_ADDRESS, else one on this machine"),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH|URL",
        help="Where the cluster's nodes keep jobs: a folder at one path on all of them, or s3://bucket/prefix ...",
        show_default="a folder here",
    ),
]
CpusOption = Annotated[float | None, typer.Option(help="Cores of each Ray task, its threads.", show_default="1")]
GpusOption = Annotated[
    float | None, typer.Option(help="GPUs of each Ray task.", show_default="1 if the cluster has any, else 0")
]
RetriesOption = Annotated[
    int | None,
    typer.Option(
        help="How often a job's worker may die in a row, without finishing an epoch, before the job fails.",
        show_default="3",
    ),
]


def make_executor(
    name: str,
    jobs: int | None,
    device: str,
    folder: Path,
    *,
    ray_address: str | None = None,
    store: str | None = None,
    cpus_per_job: float | None = None,
    gpus_per_job: float | None = None,
    retries: int | None = None,
) -> Executor:
    """Return the executor called ``name``; on a cluster jobs are kept in ``folder`` unless ``store`` says where."""
    of_ray = {
        "--ray-address": ray_address,
        "--store": store,
        "--cpus-per-job": cpus_per_job,
        "--gpus-per-job": gpus_per_job,
        "--retries": retries,
    }
    if name == "ray":
        if device != "auto":
            raise SettingError(f"--device {device} cannot be chosen on a cluster", "use --gpus-per-job 1, or 0")
        from ..jobs.cluster.ray_executor import RETRIES, RayExecutor

        return RayExecutor(
            store or str(folder),
            address=ray_address,
            jobs=jobs,
            cpus=1 if cpus_per_job is None else cpus_per_job,
            gpus=gpus_per_job,
            retries=RETRIES if retries is None else retries,
        )
    if name != "processes":
        raise SettingError(f"there is no executor {name!r}", nearest(name, ("processes", "ray")))
    if given := [option for option, value in of_ray.items() if value is not None]:
        raise SettingError(f"{given[0]} is of searches on a cluster", "add --executor ray, or leave it out")
    from ..jobs.executors import ProcessExecutor

    return ProcessExecutor(
        1 if jobs is None else jobs, device
    )  # also for one: a worker that dies must not take us along
