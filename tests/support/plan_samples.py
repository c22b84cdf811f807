"""Plans that several tests look at."""

import numpy as np

from deepreduce.plan import Add, AvgPool, Conv, FixedPoint, Flatten, Linear, Plan, Relu, Rescale
from deepreduce.plan.serialization import weight_tensors

SHIFT, WEIGHT_FRACTION = 8, 8


def conv(
    name,
    source,
    out_channels,
    kernel=3,
    stride=1,
    padding=None,
    groups=1,
    bias=True,
    weight_bits=12,
    fraction=WEIGHT_FRACTION,
):
    padding = kernel // 2 if padding is None else padding
    return Conv(
        name,
        (source,),
        out_channels,
        (kernel, kernel),
        (stride, stride),
        (padding,) * 4,
        groups,
        bias,
        weight_bits,
        fraction,
    )


def plan_of(*ops, input_shape=(2, 6, 5), ring_bits=32, output=None):
    name = "rlwe-4096" if ring_bits <= 32 else "rlwe-8192"
    return Plan(3, FixedPoint(ring_bits, 4), input_shape, ops, output or ops[-1].name, name)


def resnet18(width=64, classes=100):
    """ResNet18 as in the CIFAR literature (no pooling after the stem), every ReLU kept: 557,056 at width 64."""
    ops, seen = [conv("stem", "input", width)], "stem"

    def relu(source):
        ops.append(Relu(f"{source}.relu", (source,), SHIFT, 32, 2**20))
        return f"{source}.relu"

    seen = relu(seen)
    for stage in range(4):
        channels = width << stage
        for block in range(2):
            stride = 2 if stage and not block else 1
            prefix = f"s{stage + 1}.{block}"
            ops.append(conv(f"{prefix}.conv1", seen, channels, 3, stride))
            ops.append(conv(f"{prefix}.conv2", relu(f"{prefix}.conv1"), channels))
            if stride == 2:
                ops.append(conv(f"{prefix}.shortcut", seen, channels, 1, stride))
            else:
                ops.append(Rescale(f"{prefix}.shortcut", (seen,), -WEIGHT_FRACTION, 2**12))
            ops.append(Add(f"{prefix}.add", (f"{prefix}.conv2", f"{prefix}.shortcut")))
            seen = relu(f"{prefix}.add")
    ops.append(AvgPool("pool", (seen,), (4, 4), (4, 4), (0,) * 4))
    ops.append(Flatten("flat", ("pool",)))
    ops.append(Linear("classes", ("flat",), classes, True, 12, WEIGHT_FRACTION))
    return plan_of(*ops, input_shape=(3, 32, 32))


def random_weights(plan, rng, bits=12):
    return {
        name: rng.integers(1 - 2 ** (bits - 1), 2 ** (bits - 1), shape).astype(dtype)
        for name, (dtype, shape) in weight_tensors(plan).items()
    }


def negacyclic(a, b):
    """a * b in Z[X]/(X^N + 1) modulo 2^64, coefficient by coefficient."""
    n = len(a)
    result = np.zeros(n, dtype=np.uint64)
    for i in np.flatnonzero(a):
        shifted = np.concatenate([np.zeros(1, np.uint64) - b[n - i :], b[: n - i]])
        result += a[i] * shifted
    return result
