"""One version of a plan with its weights, as sessions use it; freed when the last session that has it ends."""

from __future__ import annotations

import functools
import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from math import prod
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ...errors import SettingError
from ...plan import (
    Plan,
    Traffic,
    check_weights,
    encode,
    predict,
    shapes,
    validate,
    weights_digest,
)
from ...plan.execution.messages import Protocol
from ...plan.execution.packing import bits_to_bytes
from ..protocol.linear import OfflineLinear, OnlineLinear, computation, offline_linears, online_linears
from ..protocol.program import Program, compile_plan
from ..protocol.server_offline import LocalOffline, Offline
from ..transport.channel import Channel
from ..transport.handshake import MAX_BATCH
from ..transport.plan_list import PlanOffer
from .weight_memory import held_bytes
from .workers.fork_server import ForkServer
from .workers.lease import ForkServerLease
from .workers.remote import RemoteOffline

FRAME_LIMIT = 1 << 32  # bytes that a frame's header can announce
PROGRAMS = 8  # of protocols and batch sizes, kept compiled

Workers = ForkServer | ForkServerLease
WorkersOf = Callable[["ServedPlan", Mapping[str, NDArray[Any]]], Workers]


class ServedPlan:
    """A plan and what follows from it and its weights: digests, linear ops, predicted sizes, compiled programs.

    Sessions `acquire` it and `release` it. After `retire` it goes on for those that have it, and is freed when the
    last of them ends. ``workers_of`` starts what computes preparations in other processes; None: sessions' threads do.
    ``weight_bytes``: what transformed weights may take; ``held_bytes``: what they do take. ``name``: for clients.

    Raises `PlanError` when the weights do not fit the plan or the homomorphic parameters.
    """

    def __init__(
        self,
        name: str,
        plan: Plan,
        weights: Mapping[str, NDArray[Any]],
        *,
        threads: int,
        weight_bytes: int,
        workers_of: WorkersOf | None,
    ) -> None:
        if not isinstance(plan, Plan):
            raise SettingError(f"the plan is a {type(plan).__name__}", "read it with deepreduce.plan.read_plan")
        validate(plan)
        arrays = {key: np.asarray(value) for key, value in weights.items()}
        check_weights(plan, arrays)
        self.name, self.plan, self.weight_bytes = name, plan, weight_bytes
        self.content = encode(plan)
        self.digest = hashlib.sha256(self.content).hexdigest()
        self.weights_digest = weights_digest(arrays)  # for the operator: clients are never told
        # Material is for these weights: under others the same shares would give another answer, and more than that.
        self.computation = computation(self.digest, arrays)
        self.identity = os.urandom(16).hex()  # names what is kept in memory
        self._threads = threads
        self._guard, self._users, self._retired = threading.Lock(), 0, False
        self._predict_sizes()
        started = time.perf_counter()
        self.linears: dict[str, OnlineLinear] = online_linears(plan, arrays)
        self._offline_linears: dict[str, OfflineLinear] = {}
        self._workers = None if workers_of is None else workers_of(self, arrays)
        if workers_of is None:
            from ..protocol.base_ot import check_supported  # libsodium is for those who prepare

            check_supported()
            self._offline_linears = offline_linears(plan, arrays, threads, weight_bytes)
        self.setup_s = time.perf_counter() - started

    def _predict_sizes(self) -> None:
        """Predict what one image costs; a batch takes as many times that. A hello must not set off this work."""
        plan = self.plan
        predicted = {name: predict(plan, name, 1).total for name in get_args(Protocol)}
        self._stored = {name: total.stored_bytes_server for name, total in predicted.items()}
        self._offline_up = {name: total.offline.up_bytes for name, total in predicted.items()}
        self.offer = PlanOffer(
            self.name,
            self.digest,
            plan.input_shape,
            prod(shapes(plan)[plan.output]),
            next(iter(predicted.values())).relus,
            {name: (_both_ways(total.offline), _both_ways(total.online)) for name, total in predicted.items()},
        )
        self._largest = max(prod(plan.input_shape), prod(shapes(plan)[plan.output]))
        self.held_bytes = held_bytes(plan, self.weight_bytes)
        self.program: Callable[[str, int], Program] = functools.lru_cache(PROGRAMS)(
            lambda protocol, batch: compile_plan(plan, protocol, batch)
        )

    def is_version(self, plan: Plan, weights: Mapping[str, NDArray[Any]]) -> bool:
        """Return whether it is this plan with these weights."""
        return self.content == encode(plan) and self.weights_digest == weights_digest(weights)

    def each(self, protocol: str, batch: int) -> int | None:
        """Return the bytes of one preparation, predicted; None: there is no such protocol or batch."""
        if not 1 <= batch <= MAX_BATCH or protocol not in self._stored:
            return None
        if bits_to_bytes(batch * self._largest * self.plan.ring.ring_bits) + (1 << 10) > FRAME_LIMIT:
            return None
        return max(1, self._stored[protocol] * batch)

    @property
    def least(self) -> int:
        """Bytes of the smallest preparation."""
        return max(1, min(self._stored.values()))

    def offline(self, program: Program, channel: Channel, computing: threading.Semaphore) -> Offline:
        """Return what a session prepares with. Raises `WorkerError`."""
        if self._workers is None:
            return LocalOffline(program, self._offline_linears, channel, self._threads)
        worker = self._workers.worker(program.protocol, program.batch)
        return RemoteOffline(program, channel, worker, self._threads, computing)

    def offline_bytes(self, program: Program) -> int:
        """Return the least number of bytes that a client sends for one preparation."""
        return program.batch * self._offline_up[program.protocol] + (1 << 20)

    def acquire(self) -> bool:
        """One session more; False: it is retired, and another version has its name."""
        with self._guard:
            if not self._retired:
                self._users += 1
            return not self._retired

    def release(self) -> None:
        """One session less."""
        with self._guard:
            self._users -= 1
            free = self._retired and not self._users
        if free:
            self._free()

    def retire(self) -> None:
        """Take no more sessions."""
        with self._guard:
            again, self._retired = self._retired, True
            free = not self._users and not again
        if free:
            self._free()

    def close(self) -> None:
        """End its workers though sessions may hold it: the server ends. A late session gets their error."""
        with self._guard:
            self._retired = True
        if self._workers is not None:
            self._workers.close()

    def _free(self) -> None:
        self.linears, self._offline_linears = {}, {}
        if self._workers is not None:
            self._workers.close()


def _both_ways(traffic: Traffic) -> int:
    return traffic.up_bytes + traffic.down_bytes
