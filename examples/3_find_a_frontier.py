"""A whole search in Python, small enough for a coffee break, and a trained network taken from its frontier."""

import argparse

import deepreduce
from deepreduce.train import make_recipe


def main(model: str, data: str, out: str, epochs: int, jobs: int) -> None:
    recipe = make_recipe("quick", epochs=epochs)
    frontier = deepreduce.find_frontier(model, data, width=0.0625, recipe=recipe, out=out, jobs=jobs)
    print(frontier)
    smallest = frontier[-1]
    network = frontier.module(smallest)
    print(f"{smallest.name}: {network.relus:,} ReLUs, {smallest.test_accuracy:.1f} % of the test images")
    frontier.plot(f"{out}/frontier.svg")


if __name__ == "__main__":  # worker processes import this file
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet10")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--out", default="example-search")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    main(arguments.model, arguments.data, arguments.out, arguments.epochs, arguments.jobs)
