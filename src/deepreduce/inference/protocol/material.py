"""One-time material of one batch of images: what each party keeps between preparation and use, and its plain form.

The plain form is arrays and a little JSON, for a store. It is finished material: nothing of the OT extension and no
homomorphic key is in it; the server's garbled vectors (`delphi`) carry their own Delta.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...plan.execution.messages import Vector
from ...plan.execution.schedule import Step
from ..transport.meter import OpPhase, Phase
from ..zeroize import wipe, wipe_within
from .nonlinear.registry import restored_client, restored_server
from .nonlinear.vector import ClientVector, ServerVector, State
from .program import Program, Ring


@dataclass(frozen=True, slots=True)
class Plain:
    """Material as a store keeps it: ``arrays`` by name, and ``facts`` that JSON can hold."""

    arrays: State
    facts: dict[str, Any]

    def wipe(self) -> None:
        """The arrays, which the material that it is the form of shares."""
        wipe(*self.arrays.values())


@dataclass(slots=True)
class ClientMaterial:
    """The client's side."""

    input_mask: Ring  # r_0 [batch, C, H, W]
    vectors: dict[Step, list[ClientVector]]
    output_share: Ring
    transcript: bytes  # SHA-256 over the offline frames of both directions
    offline: Phase

    def wipe(self) -> None:
        """Overwrite the material, which is used or lost."""
        wipe(self.input_mask, self.output_share)
        _wipe_vectors(self.vectors)

    def plain(self) -> Plain:
        """Return its plain form."""
        arrays = {"input_mask": self.input_mask, "output_share": self.output_share}
        return Plain({**arrays, **_states(self.vectors)}, {"offline": _facts(self.offline)})

    @classmethod
    def restored(cls, program: Program, plain: Plain, transcript: bytes, threads: int) -> ClientMaterial:
        """Return the material of a plain form that was made under the same program."""
        arrays, states = plain.arrays, _by_vector(plain.arrays)
        vectors: dict[Step, list[ClientVector]] = defaultdict(list)
        for number, (step, vector) in enumerate(_vectors(program)):
            vectors[step].append(restored_client(vector, states[number], threads))
        offline = _phase(plain.facts["offline"])
        return cls(arrays["input_mask"], dict(vectors), arrays["output_share"], transcript, offline)


@dataclass(slots=True)
class ServerMaterial:
    """The server's side."""

    linear_masks: dict[str, Ring]  # s of every linear op, [batch, ...]
    vectors: dict[Step, list[ServerVector]]
    transcript: bytes
    offline: Phase

    def wipe(self) -> None:
        """Overwrite the material, which is used or lost."""
        wipe(*self.linear_masks.values())
        _wipe_vectors(self.vectors)

    def plain(self) -> Plain:
        """Return its plain form."""
        arrays = {f"linear/{name}": mask for name, mask in self.linear_masks.items()}
        return Plain({**arrays, **_states(self.vectors)}, {"offline": _facts(self.offline)})

    @classmethod
    def restored(cls, program: Program, plain: Plain, transcript: bytes, threads: int) -> ServerMaterial:
        """Return the material of a plain form that was made under the same program."""
        states = _by_vector(plain.arrays)
        vectors: dict[Step, list[ServerVector]] = defaultdict(list)
        for number, (step, vector) in enumerate(_vectors(program)):
            vectors[step].append(restored_server(vector, states[number], threads))
        masks = {name: plain.arrays[f"linear/{name}"] for wave in program.waves for name in wave}
        return cls(masks, dict(vectors), transcript, _phase(plain.facts["offline"]))


def _vectors(program: Program) -> Iterator[tuple[Step, Vector]]:
    """Yield every vector in the order of the schedule."""
    for level in program.levels:
        for step in level:
            for part in program.parts[step]:
                yield step, part.vector


def _states(vectors: dict[Step, list[ClientVector]] | dict[Step, list[ServerVector]]) -> State:
    """Return the states of all vectors under "vector/number/field"; a dict of steps is in the order of the schedule."""
    every = [vector for parts in vectors.values() for vector in parts]
    return {
        f"vector/{number}/{name}": value
        for number, vector in enumerate(every)
        for name, value in vector.state().items()
    }


def _wipe_vectors(vectors: dict[Step, list[ClientVector]] | dict[Step, list[ServerVector]]) -> None:
    for parts in vectors.values():
        for vector in parts:
            wipe_within(vector)


def _by_vector(arrays: State) -> dict[int, State]:
    states: dict[int, dict[str, Any]] = defaultdict(dict)
    for key, value in arrays.items():
        if key.startswith("vector/"):
            _, number, name = key.split("/", 2)
            states[int(number)][name] = value
    return states  # type: ignore[return-value]  # a state is read only


def _facts(phase: Phase) -> dict[str, Any]:
    ops = {name: [op.seconds, op.sent_bytes, op.received_bytes] for name, op in phase.ops.items()}
    return {"seconds": phase.seconds, "rounds": phase.rounds, "ops": ops}


def _phase(facts: dict[str, Any]) -> Phase:
    phase = Phase(facts["seconds"], facts["rounds"])
    for name, (seconds, sent, received) in facts["ops"].items():
        phase.ops[name] = OpPhase(seconds, sent, received)
    return phase
