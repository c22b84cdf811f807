"""Training throughput: images/s of the real loop over the bare forward + backward rate, measured in turn in one run.

    python bench/search/throughput.py [--model resnet10 --width 0.125 --shape 1x32x32 --batch-size 64]
                                      [--threads 1 --device cpu]

The limit is the same network's forward and backward pass on synthetic tensors that are already on the device: no
input pipeline, no optimizer, no bookkeeping; a second limit adds the optimizer's step. The loop is
`deepreduce.train.fit` as a search runs it: cropping, the optimizer, the schedule, the running loss and accuracy. Each
round times all three; the ratios are per round, so that a machine whose speed drifts does not bend them. The goal is a
median ratio of at least 0.90: input pipeline and bookkeeping cost at most a tenth.
"""

import argparse
import dataclasses
import json
import platform
import statistics
import time

import torch
import torch.nn.functional as F

from deepreduce.data import Dataset, Split, assemble
from deepreduce.networks import ModelSource, count
from deepreduce.train import fit, make_optimizer, make_recipe


def synthetic(shape: tuple[int, int, int], images: int) -> Dataset:
    generator = torch.Generator().manual_seed(0)

    def split(n: int) -> Split:
        pixels = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator)
        return Split(pixels, torch.randint(0, 10, (n,), generator=generator))

    return assemble("synthetic", tuple("0123456789"), split(images), split(2), split(2))


def bare(network, shape: tuple[int, int, int], batch_size: int, batches: int, recipe, device, step: bool) -> float:
    """Images per second of forward + backward, and the optimizer's ``step`` if wanted."""
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    network.to(device=device, memory_format=layout).train()
    x = torch.randn(batch_size, *shape, device=device).to(memory_format=layout)
    y = torch.randint(0, 10, (batch_size,), device=device)
    optimizer = make_optimizer(network, dataclasses.replace(recipe, learning_rate=1e-9))
    started = time.perf_counter()
    for _ in range(batches):
        network.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=recipe.precision == "bf16"):
            logits = network(x)
        F.cross_entropy(logits.float(), y).backward()
        if step:
            optimizer.step()
    if device == "cuda":
        torch.cuda.synchronize()
    return batches * batch_size / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet10")
    parser.add_argument("--width", type=float, default=0.125)
    parser.add_argument("--shape", default="1x32x32")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shape = tuple(map(int, arguments.shape.split("x")))
    changes = dict(pair.split("=") for pair in arguments.set)
    recipe = make_recipe(arguments.recipe, epochs=1, batch_size=arguments.batch_size, **changes)
    data = synthetic(shape, arguments.batches * arguments.batch_size)
    network = ModelSource(arguments.model, arguments.width).build(shape, 10)

    def loop() -> float:
        return len(data.train) / fit(network, data, recipe, device=arguments.device).history[0].seconds

    def limit(step: bool) -> float:
        return bare(network, shape, arguments.batch_size, arguments.batches, recipe, arguments.device, step)

    limit(False), loop()  # warm up
    rounds = [(limit(False), limit(True), loop()) for _ in range(arguments.rounds)]
    to_bare = [ours / best for best, _, ours in rounds]
    to_stepped = [ours / stepped for _, stepped, ours in rounds]
    result = {
        "model": arguments.model,
        "width": arguments.width,
        "macs": count(network).total.macs,
        "shape": arguments.shape,
        "batch_size": arguments.batch_size,
        "recipe": arguments.recipe,
        "precision": recipe.precision,
        "rounds": arguments.rounds,
        "images_per_s": statistics.median(ours for *_, ours in rounds),
        "bare_images_per_s": statistics.median(best for best, *_ in rounds),
        "bare_with_optimizer_images_per_s": statistics.median(stepped for _, stepped, _ in rounds),
        "ratio": spread(to_bare),
        "ratio_with_optimizer": spread(to_stepped),
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else platform.processor() or "cpu",
        "threads": arguments.threads,
        "torch": torch.__version__,
    }
    if arguments.json:
        print(json.dumps(result, indent=1))
        return
    print(f"{result['model']} x {result['width']}, {result['shape']}, batch {result['batch_size']}, {result['device']}")
    print(f"training loop        {result['images_per_s']:10,.0f} images/s")
    for name, rate, ratio in (
        ("forward + backward", "bare_images_per_s", "ratio"),
        ("  + optimizer", "bare_with_optimizer_images_per_s", "ratio_with_optimizer"),
    ):
        found = result[ratio]
        span = f"{found['min']:.3f} to {found['max']:.3f}, {len(rounds)} rounds"
        print(f"{name:20} {result[rate]:10,.0f} images/s   ratio {found['median']:.3f} ({span})")


def spread(ratios: list[float]) -> dict[str, float]:
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


if __name__ == "__main__":
    main()
