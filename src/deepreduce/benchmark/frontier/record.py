"""A point's measurement in short, as frontier.json holds it, and in full, in DIR/runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ...errors import StoreError
from ...files import read_json, write_json
from ...plan.cost.network_link import LINKS
from ...search.frontier import FILE, KEYS

RUNS = "runs"


@dataclass(frozen=True, slots=True)
class RunSummary:
    """``networks[i]["private"]["<protocol>@<network>"]`` of frontier.json.

    Seconds are medians over ``inferences``, bytes those of both directions, ``rounds`` those online, ``relus``
    the comparisons of one batch, ``plan`` its digest, ``run`` a file name in DIR/runs. All are per batch.
    """

    online_s: float
    offline_s: float
    predicted_online_s: float
    predicted_offline_s: float
    online_bytes: int
    offline_bytes: int
    rounds: int
    relus: int
    convs_before: int
    convs_after: int
    plan: str
    run: str
    inferences: int
    threads: int
    batch: int

    @classmethod
    def of_run(cls, run: Mapping[str, Any], file: str, convs_before: int, convs_after: int) -> RunSummary:
        """Return the summary of a result of `deepreduce.benchmark.run.bench`."""
        online, offline = run["online"], run["offline"]
        return cls(
            online_s=online["seconds"],
            offline_s=offline["seconds"],
            predicted_online_s=online["predicted_seconds"],
            predicted_offline_s=offline["predicted_seconds"],
            online_bytes=online["down_bytes"] + online["up_bytes"],
            offline_bytes=offline["down_bytes"] + offline["up_bytes"],
            rounds=online["rounds"],
            relus=run["relus"],
            convs_before=convs_before,
            convs_after=convs_after,
            plan=run["plan_digest"],
            run=file,
            inferences=run["inferences"],
            threads=run["threads"],
            batch=run["batch"],
        )

    @classmethod
    def read(cls, record: object) -> RunSummary | None:
        """Return a record of frontier.json; None if it is not one of this version's, and has to be measured again."""
        names = {field.name for field in fields(cls)}
        if not isinstance(record, Mapping) or record.keys() != names:
            return None
        return cls(**record)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def network_name(text: str) -> str:
    """Return one spelling of a network (`deepreduce.plan.cost.network_link.parse_link`): it becomes part of keys and
    file names.
    """
    name = re.sub(r"\s+", "", text)
    return name.lower() if name.lower() in LINKS else name


def run_file(job: str, protocol: str, network: str) -> str:
    """Return the name of a run's file in DIR/runs: another one for every link."""
    return f"{job}-{protocol}-{quote(network, safe='')}.json"


def write_run(directory: Path, file: str, run: Mapping[str, Any]) -> None:
    """The whole measurement: docs/reference/run-json.md."""
    write_json(directory / RUNS / file, run)


def note_summary(directory: Path, job: str, key: str, summary: RunSummary) -> None:
    """Put it into frontier.json. The caller holds the folder's lock."""
    content = read_json(directory / FILE, KEYS)
    for network in content["networks"]:
        if network["job"] == job:
            network.setdefault("private", {})[key] = summary.to_json()
            write_json(directory / FILE, content)
            return
    raise StoreError(f"{directory / FILE} has no job {job} any more", "measure again when its search has ended")
