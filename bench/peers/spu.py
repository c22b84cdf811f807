"""The same layers in SecretFlow SPU (Cheetah) and here, one after the other in one run, both over loopback.

    python bench/peers/spu.py [--case relu:16384 --case resnet18 ...] [--repeats 3] [--threads 1] [--out FILE]

SPU goes into a virtual environment of its own, build/peers/spu (spu 0.9.5 and jax, from the package index). It has no
offline phase: its time stands against offline + online of `deepreduce bench`, whose ReLU layers include a 1x1
convolution that makes their shares. SPU computes in 64-bit fixed point by default (--field), with as many threads as it
likes. Prints JSON.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from layers import write_conv, write_relus  # noqa: E402 (it lies in the folder above)

ROOT = HERE.parents[1]
ENVIRONMENT = ROOT / "build" / "peers" / "spu"
SPU = "spu==0.9.5"
POINT = "S2^RT+S3^RT+S4^RT"
CASES = ["relu:16384", "relu:131072", "conv:64@32", "conv:128@16", "conv:512@4", "resnet18"]


def environment() -> Path:
    """The Python that has SPU; made and filled the first time."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / ".installed").exists():
        print(f"installing {SPU} into {ENVIRONMENT} ...", file=sys.stderr)
        venv.create(ENVIRONMENT, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", SPU], check=True)
        (ENVIRONMENT / ".installed").touch()
    return python


def theirs(python: Path, case: str, repeats: int, field: str) -> dict:
    command = [python, "-P", HERE / "spu_party.py", case, "--repeats", str(repeats), "--field", field]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])  # SPU logs to the same stream


def ours(case: str, repeats: int, threads: int, protocol: str) -> dict:
    kind, _, size = case.partition(":")
    options = ["--inferences", str(repeats), "--threads", str(threads), "--protocol", protocol, "--json"]
    with tempfile.TemporaryDirectory() as name:
        model = [name]
        if kind == "relu":
            write_relus(Path(name), int(size))
        elif kind == "conv":
            write_conv(Path(name), *map(int, size.split("@")))
        else:
            model = ["resnet18", "--point", POINT]
        command = [sys.executable, "-m", "deepreduce", "bench", *model, *options]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", action="extend", help=f"may be repeated; by default {' '.join(CASES)}")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of each of our parties")
    parser.add_argument("--protocol", default="ot")
    parser.add_argument("--field", default="FM64", choices=["FM32", "FM64", "FM128"])
    parser.add_argument("--out", type=Path)
    found = parser.parse_args(arguments)
    found.case = found.case or CASES
    return found


def main() -> None:
    arguments = parsed()
    python, results = environment(), []
    for case in arguments.case:
        here = ours(case, arguments.repeats, arguments.threads, arguments.protocol)
        there = theirs(python, case, arguments.repeats, arguments.field)
        seconds = here["offline"]["seconds"] + here["online"]["seconds"]
        moved = sum(here[phase][f"{way}_bytes"] for phase in ("offline", "online") for way in ("up", "down"))
        results.append(
            {
                "case": case,
                "spu": there,
                "deepreduce": {
                    "offline_seconds": here["offline"]["seconds"],
                    "online_seconds": here["online"]["seconds"],
                    "seconds": seconds,
                    "spread": here["spread"],
                    "megabytes": moved / 1e6,
                    "protocol": here["protocol"],
                    "threads": here["threads"],
                },
                "times_faster": there["seconds"] / seconds,
                "times_faster_online": there["seconds"] / here["online"]["seconds"],
            }
        )
        print(f"{case}: SPU {there['seconds']:.3f} s, here {seconds:.3f} s", file=sys.stderr)
    text = json.dumps(results, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
