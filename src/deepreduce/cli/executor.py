"""Options that say where trainings run, shared by the verbs that train."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import SettingError, nearest

if TYPE_CHECKING:
    from ..jobs import Executor

RUNS = "Where trainings run"  # panel of --help

JobsOption = Annotated[
    int | None,
    typer.Option(
        help="Trainings at once; cores and GPUs are divided among them.",
        show_default="1; on a cluster what it has room for",
        rich_help_panel=RUNS,
    ),
]
DeviceOption = Annotated[
    str, typer.Option(help="auto, cpu, cuda, cuda:0 ...; on a cluster --gpus-per-job says it.", rich_help_panel=RUNS)
]
ExecutorOption = Annotated[
    str,
    typer.Option(
        help="processes of this machine, or ray: tasks on a cluster (docs/operate/cluster.md).", rich_help_panel=RUNS
    ),
]
RayAddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="The Ray cluster.",
        show_default="$RAY_ADDRESS, else one on this machine",
        rich_help_panel=RUNS,
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH|URL",
        help="Where the cluster's nodes keep jobs: a folder at one path on all of them, or s3://bucket/prefix ...",
        show_default="a folder here",
        rich_help_panel=RUNS,
    ),
]
CpusOption = Annotated[
    float | None, typer.Option(help="Cores of each Ray task, its threads.", show_default="1", rich_help_panel=RUNS)
]
GpusOption = Annotated[
    float | None,
    typer.Option(help="GPUs of each Ray task.", show_default="1 if the cluster has any, else 0", rich_help_panel=RUNS),
]
RetriesOption = Annotated[
    int | None,
    typer.Option(
        help="How often a job's worker may die in a row, without finishing an epoch, before the job fails.",
        show_default="3",
        rich_help_panel=RUNS,
    ),
]


@dataclass(frozen=True)
class ExecutorOptions:
    """The options of a verb that say where its trainings run."""

    jobs: JobsOption
    device: DeviceOption
    executor: ExecutorOption
    ray_address: RayAddressOption
    store: StoreOption
    cpus_per_job: CpusOption
    gpus_per_job: GpusOption
    retries: RetriesOption


def make_executor(options: ExecutorOptions, folder: Path) -> Executor:
    """Return the executor that ``options`` name; on a cluster jobs are kept in ``folder`` unless ``store`` says where.

    Raises `SettingError` for an unknown executor, and for an option of another one.
    """
    if options.executor == "ray":
        if options.device != "auto":
            raise SettingError(f"--device {options.device} cannot be chosen on a cluster", "use --gpus-per-job 1, or 0")
        from ..jobs.cluster import RETRIES, RayExecutor

        return RayExecutor(
            options.store or str(folder),
            address=options.ray_address,
            jobs=options.jobs,
            cpus=1 if options.cpus_per_job is None else options.cpus_per_job,
            gpus=options.gpus_per_job,
            retries=RETRIES if options.retries is None else options.retries,
        )
    if options.executor != "processes":
        raise SettingError(
            f"there is no executor {options.executor!r}", nearest(options.executor, ("processes", "ray"))
        )
    for name in ("ray_address", "store", "cpus_per_job", "gpus_per_job", "retries"):
        if getattr(options, name) is not None:
            flag = "--" + name.replace("_", "-")
            raise SettingError(f"{flag} is for searches on a cluster", "add --executor ray, or leave it out")
    from ..jobs import ProcessExecutor

    # Also for one job: a worker that dies must not take this process along.
    return ProcessExecutor(1 if options.jobs is None else options.jobs, options.device)
