"""Networks for 224x224 images in private: SqueezeNet 1.1, ResNet18 and ResNet50, in torchvision's form.

    python bench/service/imagenet.py [--models squeezenet resnet18 resnet50] [--network none lan wan] [--inferences 3]

Weights are random, of trained range; ResNet50's have 11 bits, since 12 would be more than the server can hide in a ring
of 32 (SECURITY.md, Parameters). Writes bench/results/imagenet_<hardware>_<date>.md and .json.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from deepreduce.benchmark import BenchOptions, bench
from deepreduce.export import plan_of
from deepreduce.plan import write_plan, write_weights

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from private import HEADERS, row

import results_page

FACTORIES = Path(__file__).with_name("imagenet_networks.py")
WEIGHT_BITS = {"squeezenet": 12, "resnet18": 12, "resnet50": 11}
ABOUT = """3x224x224 images, 1000 classes, `ot`. Client and server are two processes on one machine, one thread each;
lan is 1 Gb/s and 1 ms round trip, wan 100 Mb/s and 40 ms, by a relay process of our own. Seconds are medians of
{inferences} inference(s) (minimum to maximum). ReLUs are comparisons, those of max-pools included. Errors are in units
of the last place of the output, whose largest value stands beside. Peak memory is the processes' own; the server keeps
transformed weights in at most half of the memory that is free, and transforms the others for every preparation (`serve
--max-weights`)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(WEIGHT_BITS), choices=list(WEIGHT_BITS))
    parser.add_argument("--network", nargs="+", default=["none"])
    parser.add_argument("--inferences", type=int, default=3)
    parser.add_argument("--image", type=int, default=224, help="side, for a quick look")
    parser.add_argument("--hardware", default=results_page.hardware())
    parser.add_argument("--print", action="store_true", help="print the table, write no files")
    arguments = parser.parse_args()
    results, rows = [], []
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as name:
            settings = {"weight_bits": WEIGHT_BITS[model], "calibration_images": 1, "merge": False}
            plan, weights = plan_of(f"{FACTORIES}:{model}", image=arguments.image, classes=1000, **settings)
            write_plan(Path(name) / "plan.json", plan)
            write_weights(Path(name) / "weights.safetensors", plan, weights)
            del weights
            for network in arguments.network:
                result = {"model": model, **bench(Path(name), BenchOptions("ot", arguments.inferences, network))}
                results.append(result)
                first, *rest = row(result)
                rows.append([f"{model}, {first}", *rest])
                print(" | ".join(rows[-1]), flush=True)
    table = results_page.table([f"network, {HEADERS[0]}", *HEADERS[1:]], rows)
    if arguments.print:
        print(table)
        return
    page = results_page.path("imagenet", arguments.hardware)
    page.write_text(results_page.head("Private networks for 224x224 images", ABOUT.format(**vars(arguments))) + table)
    page.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    print(f"wrote {page}")


if __name__ == "__main__":
    main()
