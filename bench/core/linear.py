"""The server's online linear layers of a ResNet18 against the multiply-add peak measured in the same run.

    python bench/core/linear.py [--ring-bits 32] [--batch 1] [--threads 1] [--rounds 9] [--paths scalar,avx2,avx512]

The layers are those of ResNet18 on 3x32x32 images with 100 classes, stem of stride 1 (0.56 G multiply-adds), random
12-bit weights and full-range ring elements. The peak is a loop of multiply-adds that never leaves the registers, per
thread; a ratio of 1 would mean that loads, stores, padding and partial vectors cost nothing. Per layer: the best round;
whole network: the median round, layers in order, as a server runs them. Packing the weights is set-up and not timed.
"""

import argparse
import statistics
import time
from typing import NamedTuple

import numpy as np

from deepreduce import _core


class Layer(NamedTuple):
    inputs: int
    outputs: int
    side: int  # of the input map
    kernel: int
    stride: int

    @property
    def multiply_adds(self) -> int:
        return self.inputs * self.outputs * self.kernel**2 * (self.side // self.stride) ** 2

    def __str__(self) -> str:
        kernel = f"{self.kernel}x{self.kernel}" + (f"/{self.stride}" if self.stride > 1 else "")
        return f"{self.inputs:3d} -> {self.outputs:3d} @ {self.side:2d}x{self.side:<2d} {kernel}"


def resnet18() -> list[Layer]:
    layers, inputs, side = [Layer(3, 64, 32, 3, 1)], 64, 32
    for outputs, first_stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first_stride, 1):
            if stride > 1:
                layers.append(Layer(inputs, outputs, side, 1, stride))
            layers.append(Layer(inputs, outputs, side, 3, stride))
            side //= stride
            layers.append(Layer(outputs, outputs, side, 3, 1))
            inputs = outputs
    return [*layers, Layer(512, 100, 1, 1, 1)]


def measure(layers: list[Layer], ring_bits: int, batch: int, threads: int, rounds: int) -> list[list[float]]:
    """Seconds [round][layer]."""
    rng = np.random.default_rng(0)
    calls = []
    for layer in layers:
        shape = (layer.outputs, layer.inputs, layer.kernel, layer.kernel)
        weights = _core.LinearWeights(rng.integers(-2047, 2048, shape).astype(np.int16), 1, ring_bits)
        x = rng.integers(0, 2**ring_bits - 1, (batch, layer.inputs, layer.side, layer.side), np.uint64, endpoint=True)
        bias = rng.integers(0, 2**ring_bits - 1, layer.outputs, np.uint64, endpoint=True)
        calls.append((weights, x, bias, (layer.stride, layer.stride), (layer.kernel // 2,) * 4))
    seconds = []
    for _ in range(rounds + 1):
        seconds.append([])
        for weights, *arguments in calls:
            started = time.perf_counter()
            weights.convolve(*arguments, threads)
            seconds[-1].append(time.perf_counter() - started)
    return seconds[1:]  # the first round warms up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ring-bits", type=int, default=32)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--paths", default=",".join(_core.cpu_paths()))
    arguments = parser.parse_args()
    layers = resnet18()
    work = [arguments.batch * layer.multiply_adds for layer in layers]
    for path in arguments.paths.split(","):
        _core.select_cpu_path(path)
        peak = _core.bench_multiply_add_peak(arguments.ring_bits) * arguments.threads
        seconds = measure(layers, arguments.ring_bits, arguments.batch, arguments.threads, arguments.rounds)
        print(f"{path}: ring of {arguments.ring_bits} bits, batch {arguments.batch}, {arguments.threads} thread(s)")
        for index, layer in enumerate(layers):
            best = min(round_[index] for round_ in seconds)
            rate = work[index] / best
            print(f"  {layer!s:28} {best * 1e3:8.3f} ms {rate / 1e9:7.2f} GMAC/s  ratio {rate / peak:.2f}")
        totals = [sum(round_) for round_ in seconds]
        median = statistics.median(totals)
        spread = f"{min(totals) * 1e3:.1f} to {max(totals) * 1e3:.1f}"
        print(
            f"  network: {median * 1e3:.1f} ms ({spread}, {arguments.rounds} rounds), {sum(work) / 1e9:.3f} GMAC, ",
            end="",
        )
        print(f"peak {peak / 1e9:.1f} GMAC/s, ratio {sum(work) / median / peak:.2f}")


if __name__ == "__main__":
    main()
