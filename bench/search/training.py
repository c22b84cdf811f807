"""The training loop: images per second and seconds per epoch, against the device's matrix rate in the same run.

    python bench/search/training.py [--model resnet18] [--point "S2^RT+S3^RT"] [--width 1 0.5] [--side 32] [--batch 128]
                             [--precision fp32 bf16] [--kd off on strong] [--compile] [--device auto]

Trains on random images with the loop of `deepreduce.train.fit`, a first epoch that is not counted, then the median of
--epochs. --kd: without a teacher, with one (the same network with all its ReLUs), or with one, attention maps, fading
ReLUs and an average of weights (the recipe strong). The matrix rate is the best of several products of two square
matrices in the same precision; the ratio is the multiplications of forward and backward passes per second (three
forward passes of the student, one of the teacher) over it. Writes bench/results/training_<hardware>_<date>.md, and
beside it the numbers as JSON.
"""

import argparse
import itertools
import json
import platform
import re
import statistics
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

import deepreduce
from deepreduce.data import Dataset, Split, assemble
from deepreduce.jobs import devices
from deepreduce.networks import ModelSource, count, with_features
from deepreduce.reduce import anneal_to
from deepreduce.train import Annealing, Recipe, fit, make_recipe

sys.path.insert(0, str(Path(__file__).parents[1]))
import results_page

KD = ("off", "on", "strong")
ABOUT = """{device}, torch {torch}, {threads} thread(s). Medians of {epochs} epochs of {images:,} images (random), after
one that is not counted; a full epoch is {full_epoch:,} images. `of matrix rate`: multiply-adds of the training per
second over those of a matrix product in the same precision ({rates})."""


@dataclass(frozen=True)
class Case:
    """What is trained. ``point`` is of the student; ``kd`` one of `KD`."""

    model: str
    point: str
    width: float
    side: int
    batch: int
    precision: str
    kd: str
    compile: bool

    @property
    def recipe(self) -> Recipe:
        """The paper's, or the strong one."""
        name = "strong" if self.kd == "strong" else "paper"
        return make_recipe(name, batch_size=self.batch, precision=self.precision, compile=self.compile)


def random_data(images: int, side: int, classes: int = 100) -> Dataset:
    """Images of noise; ten for validation, which is part of an epoch's seconds."""
    g = torch.Generator().manual_seed(0)

    def split(n: int) -> Split:
        pixels = torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=g)
        return Split(pixels, torch.arange(n) % classes)

    names = tuple(map(str, range(classes)))
    return assemble("noise", names, split(images), split(10), split(10))


def matrix_rate(device: torch.device, precision: str, side: int, rounds: int = 7) -> float:
    """Multiply-adds per second of a product of two ``side`` x ``side`` matrices, the best of ``rounds``."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda" and torch.backends.cudnn.allow_tf32:
        torch.set_float32_matmul_precision("high")  # as convolutions of fp32 are computed there
    best = float("inf")
    for _ in range(rounds):
        wait(device)
        started = time.perf_counter()
        a @ b
        wait(device)
        best = min(best, time.perf_counter() - started)
    torch.set_float32_matmul_precision(before)
    return side**3 / best


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(case: Case, data: Dataset, device: torch.device, epochs: int) -> dict:
    """Seconds per epoch of ``case``, and what follows from them."""
    full = ModelSource(case.model, case.width).build((3, case.side, case.side), len(data.classes), 0)
    student = deepreduce.reduce_to(full, case.point)
    macs = count(student).total.macs * 3 + (count(full).total.macs if case.kd != "off" else 0)
    # ReLUs fade for as long as epochs are measured: the dearer part of such a training.
    recipe = replace(case.recipe, epochs=epochs + 1, anneal=1.0 if case.kd == "strong" else 0.0)
    fade = None
    if recipe.anneal:
        student, fade = anneal_to(full, case.point)
    teacher = None if case.kd == "off" else ModelSource(case.model, case.width).build(full.input_shape, 100, 1)
    result = fit(
        student,
        data,
        recipe,
        device=device,
        teacher=teacher,
        gradual=[Annealing(fade, recipe.anneal)] if fade else [],
        tap=with_features,
    )
    seconds = [record.seconds for record in result.history[1:]]
    rate = len(data.train) / statistics.median(seconds)
    return {**asdict(case), "epoch_s": seconds, "images_per_s": rate, "macs_per_image": macs, "macs_per_s": macs * rate}


def row(result: dict, rate: float, full_epoch: int) -> list[str]:
    size = f"{result['model']} {result['point']}, width {result['width']:g}, {result['side']}x{result['side']}"
    how = f"batch {result['batch']}, {result['precision']}, KD {result['kd']}" + (
        ", compiled" if result["compile"] else ""
    )
    images = result["images_per_s"]
    cells = [f"{images:,.0f}", f"{full_epoch / images:,.1f}", f"{result['macs_per_image'] / 1e6:,.0f}"]
    return [f"{size}, {how}", *cells, f"{100 * result['macs_per_s'] / rate:.1f} %"]


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU {platform.machine()}"


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--point", default="S2^RT+S3^RT")
    parser.add_argument("--width", type=float, nargs="+", default=[1.0])
    parser.add_argument("--side", type=int, nargs="+", default=[32])
    parser.add_argument("--batch", type=int, nargs="+", default=[128])
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32"])
    parser.add_argument("--kd", nargs="+", choices=KD, default=["off", "on"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=None, help="images per measured epoch (CPU: 1024, else 50,000)")
    parser.add_argument("--full-epoch", type=int, default=45_000, help="images of the epoch whose seconds are shown")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--matrix", type=int, default=None, help="side of the matrices (CPU: 2048, else 8192)")
    parser.add_argument("--hardware", default=None)
    parser.add_argument("--print", action="store_true", help="print the table, write no files")
    return parser.parse_args()


def main() -> None:
    arguments = arguments_of()
    device = torch.device(devices(arguments.device)[0])
    on_cpu = device.type == "cpu"
    images = arguments.images or (1024 if on_cpu else 50_000)
    side = arguments.matrix or (2048 if on_cpu else 8192)
    rates = {precision: matrix_rate(device, precision, side) for precision in arguments.precision}
    sizes = itertools.product(arguments.width, arguments.side, arguments.batch, arguments.precision, arguments.kd)
    results = []
    for width, pixels, batch, precision, kd in sizes:
        case = Case(arguments.model, arguments.point, width, pixels, batch, precision, kd, arguments.compile)
        results.append(measure(case, random_data(images, pixels), device, arguments.epochs))
        print(" | ".join(row(results[-1], rates[precision], arguments.full_epoch)), flush=True)
    about = {
        "device": device_name(device),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "epochs": arguments.epochs,
        "images": images,
        "full_epoch": arguments.full_epoch,
        "rates": ", ".join(f"{name}: {rate / 1e9:,.0f} G/s, {side} x {side}" for name, rate in rates.items()),
    }
    headers = ["training", "images/s", f"s per {arguments.full_epoch:,}", "M multiply-adds per image", "of matrix rate"]
    rows = [row(result, rates[result["precision"]], arguments.full_epoch) for result in results]
    text = results_page.table(headers, rows)
    print(ABOUT.format(**about) + "\n\n" + text)
    if not arguments.print:
        short = results_page.hardware() if on_cpu else re.sub(r"[^a-z0-9]+", "-", device_name(device).lower())
        page = results_page.path("training", arguments.hardware or short)
        page.write_text(results_page.head("The training loop", ABOUT.format(**about)) + text)
        content = {**about, "deepreduce": deepreduce.__version__, "python": platform.python_version()}
        content |= {"matrix_macs_per_s": rates, "matrix_side": side, "runs": results}
        page.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")
        print(f"wrote {page}")


if __name__ == "__main__":
    main()
