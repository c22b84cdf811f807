"""One case in SecretFlow SPU with the Cheetah protocol, between two processes over loopback. Prints JSON.

Run by spu.py in a virtual environment that has SPU (``python -P spu_party.py CASE``, for this folder holds another
spu.py). The client (rank 0) holds the image, the server (rank 1) the weights: both are private to their owner, so that
SPU takes its products of a shared and a known operand. A ReLU layer works on shares.
"""

import argparse
import json
import multiprocessing
import socket
import statistics
import time

import jax.numpy as jnp
import numpy as np
import spu
from jax import lax
from spu import libspu
from spu.utils import frontend

SECRET = libspu.Visibility.VIS_SECRET
SHARED, CLIENT, SERVER = -1, 0, 1
KEPT_STAGES = (2, 3, 4)  # of ResNet18: the ReLU after each addition, 114,688 of them


def relu(x):
    return jnp.maximum(x, 0)


def conv(x, w, stride=1):
    return lax.conv_general_dilated(x, w, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def resnet18(x, weights):
    weights = iter(weights)
    x = conv(x, next(weights))
    for stage in (1, 2, 3, 4):
        for block in (0, 1):
            stride = 2 if stage > 1 and block == 0 else 1
            y = conv(conv(x, next(weights), stride), next(weights))
            x = y + (conv(x, next(weights), stride) if stride == 2 else x)
            if stage in KEPT_STAGES:
                x = jnp.maximum(x, 0)
    return jnp.mean(x, axis=(1, 2)) @ next(weights)


def resnet18_weights(rng):
    def weight(kernel, channels, outputs):
        spread = 0.7 / np.sqrt(kernel * kernel * channels)
        return (spread * rng.standard_normal((kernel, kernel, channels, outputs))).astype(np.float32)

    weights, before = [weight(3, 3, 64)], 64
    for stage in (1, 2, 3, 4):
        after = 64 << (stage - 1)
        for block in (0, 1):
            weights += [weight(3, before, after), weight(3, after, after)]
            if stage > 1 and block == 0:
                weights.append(weight(1, before, after))
            before = after
    return [*weights, weight(1, 512, 100)[0, 0]]


def case(name, rng):
    """(function, arguments, owner of each argument); a list is one argument of several tensors."""
    kind, _, size = name.partition(":")
    if kind == "relu":
        return relu, [rng.standard_normal(int(size)).astype(np.float32)], [SHARED]
    if kind == "conv":
        channels, side = map(int, size.split("@"))
        x = rng.standard_normal((1, side, side, channels)).astype(np.float32)
        w = (rng.standard_normal((3, 3, channels, channels)) / np.sqrt(9 * channels)).astype(np.float32)
        return conv, [x, w], [CLIENT, SERVER]
    if kind == "resnet18":
        return (
            resnet18,
            [rng.standard_normal((1, 32, 32, 3)).astype(np.float32), resnet18_weights(rng)],
            [CLIENT, SERVER],
        )
    raise SystemExit(f"unknown case {name}: relu:N, conv:C@SIDE or resnet18")


def configuration(field):
    config = libspu.RuntimeConfig(protocol=libspu.ProtocolKind.CHEETAH, field=getattr(libspu.FieldType, field))
    config.experimental_enable_colocated_optimization = True
    return config


def party(rank, ports, field, code, names, shares, repeats, report):
    description = libspu.link.Desc()
    for index, port in enumerate(ports):
        description.add_party(f"party{index}", f"127.0.0.1:{port}")
    link = libspu.link.create_brpc(description, rank)
    runtime = spu.Runtime(link, configuration(field))
    executable = libspu.Executable(name="case", input_names=names[0], output_names=names[1], code=code)
    seconds = []
    for _ in range(repeats + 1):
        for name, share in zip(names[0], shares, strict=True):
            runtime.set_var(name, share)
        link.barrier()
        started = time.perf_counter()
        runtime.run(executable)
        seconds.append(time.perf_counter() - started)
    report.send((seconds[1:], seconds[0], [runtime.get_var(name) for name in names[1]]))
    link.stop_link()


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", help="relu:N, conv:C@SIDE or resnet18")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--field", default="FM64", choices=["FM32", "FM64", "FM128"])
    arguments = parser.parse_args()
    function, values, owners = case(arguments.case, np.random.default_rng(0))
    flat = [
        (tensor, owner)
        for value, owner in zip(values, owners, strict=True)
        for tensor in (value if isinstance(value, list) else [value])
    ]
    inputs = [f"in{index}" for index in range(len(flat))]
    executable, _ = frontend.compile(
        frontend.Kind.JAX,
        function,
        values,
        {},
        inputs,
        [SECRET] * len(flat),
        lambda out: [f"out{index}" for index in range(len(out))],
    )
    io = spu.Io(2, configuration(arguments.field))
    shares = [io.make_shares(tensor, SECRET, owner) for tensor, owner in flat]
    context, ports = multiprocessing.get_context("spawn"), free_ports(2)
    pipes = [context.Pipe() for _ in range(2)]
    names = (inputs, list(executable.output_names))
    parties = []
    for rank in range(2):
        own = [share[rank] for share in shares]
        told = (rank, ports, arguments.field, executable.code, names, own, arguments.repeats, pipes[rank][1])
        parties.append(context.Process(target=party, args=told))
    for process in parties:
        process.start()
    reports = [pipe.recv() for pipe, _ in pipes]
    for process in parties:
        process.join()
    found = io.reconstruct([report[2][0] for report in reports])
    expected = np.asarray(function(*values))
    seconds = [max(pair) for pair in zip(reports[0][0], reports[1][0], strict=True)]
    result = {
        "case": arguments.case,
        "field": arguments.field,
        "seconds": statistics.median(seconds),
        "seconds_range": [min(seconds), max(seconds)],
        "first_seconds": max(reports[0][1], reports[1][1]),
        "max_error": float(np.abs(found - expected).max()),
        "largest": float(np.abs(expected).max()),
        "spu": spu.__version__,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
