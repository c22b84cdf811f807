"""Do private answers agree with answers in the clear? Test images of a data set, one private prediction each.

    python bench/service/agreement.py PLAN --data cifar100 [--images 1000] [--protocol ot]

PLAN is a folder that `deepreduce export` wrote. `deepreduce serve` runs as a process of its own; this one is the
client. Compared are top-1 answers of the session with those of the reference interpreter on the same integers, and how
far apart the two largest logits are where they differ. Writes bench/results/agreement_<hardware>_<date>.md.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

from deepreduce.data import load
from deepreduce.inference import Client
from deepreduce.plan import answers, encode_input, normalized, read_plan, read_weights

sys.path.insert(0, str(Path(__file__).parents[1]))
import results_page

AHEAD = 25  # preparations at a time


def private_answers(plan: Path, inputs: np.ndarray, protocol: str) -> tuple[np.ndarray, list]:
    """Integers [n, classes] from `deepreduce serve`, and what each cost."""
    command = [sys.executable, "-m", "deepreduce", "serve", plan, "--listen", "127.0.0.1:0", "--insecure"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        port = int(server.stdout.readline().rsplit(":", 1)[-1])
        with Client("127.0.0.1", port, protocol=protocol, insecure=True) as client:
            found = []
            for first in range(0, len(inputs), AHEAD):
                part = inputs[first : first + AHEAD]
                client.prepare(len(part))
                found += [client.predict_integers(image[None])[0] for image in part]
                print(f"\r{len(found)}/{len(inputs)}", end="", file=sys.stderr, flush=True)
            print(file=sys.stderr)
            return np.stack(found), list(client.runs)
    finally:
        server.terminate()
        server.wait()


def margin(logits: np.ndarray) -> np.ndarray:
    """Between the two largest [n], relative to the spread of all."""
    ordered = np.sort(logits, axis=1)
    return (ordered[:, -1] - ordered[:, -2]) / (ordered[:, -1] - ordered[:, 0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--protocol", default="ot", choices=("ot", "delphi"))
    parser.add_argument("--hardware", default=results_page.hardware())
    parser.add_argument("--print", action="store_true", help="print the table, write no file")
    arguments = parser.parse_args()
    plan = read_plan(arguments.plan / "plan.json")
    weights = read_weights(arguments.plan / "weights.safetensors", plan)
    test = load(arguments.data).test
    chosen = np.random.default_rng(0).permutation(len(test))[: arguments.images]
    inputs = encode_input(plan, normalized(plan, test.images.numpy()[chosen]))
    labels = test.labels.numpy()[chosen]
    clear = answers(plan, weights, inputs)
    private, runs = private_answers(arguments.plan, inputs, arguments.protocol)
    same = private.argmax(1) == clear.argmax(1)
    rows = [
        ["images", f"{len(chosen):,} of the test split of {arguments.data}"],
        ["protocol", arguments.protocol],
        ["top-1 agrees", f"{100 * same.mean():.2f} % ({(~same).sum()} differ)"],
        ["answers equal to the last bit", f"{100 * (private == clear).all(1).mean():.2f} %"],
        ["largest margin where top-1 differs", f"{margin(clear)[~same].max(initial=0):.5f} of the logits' range"],
        ["median margin of all", f"{np.median(margin(clear)):.3f}"],
        ["accuracy private, clear", f"{100 * (private.argmax(1) == labels).mean():.2f} %, "
         f"{100 * (clear.argmax(1) == labels).mean():.2f} %"],
        ["online s, median", f"{statistics.median(run.online.seconds for run in runs):.4f}"],
        ["offline s, median", f"{statistics.median(run.offline.seconds for run in runs):.4f}"],
    ]  # fmt: skip
    table = results_page.table(["", "value"], rows)
    print(table)
    if not arguments.print:
        page = results_page.path(f"agreement-{arguments.protocol}", arguments.hardware)
        facts = (arguments.plan / "export.json").read_text()
        page.write_text(results_page.head("Private and clear answers", __doc__) + table + f"\n```json\n{facts}```\n")
        print(f"wrote {page}")


if __name__ == "__main__":
    main()
