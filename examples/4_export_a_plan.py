"""From a point of a frontier to a plan for both parties and integer weights for the server.

    .venv/bin/python examples/4_export_a_plan.py example-search example-plan

takes the search of 3_find_a_frontier.py. On the command line: `deepreduce export example-search --out example-plan`.
"""

import sys

from deepreduce import Frontier
from deepreduce.export import export_point, frontier_data, write_samples
from deepreduce.plan import predict

source, target = sys.argv[1:3] if len(sys.argv) > 2 else ("example-search", "example-plan")

frontier = Frontier.load(source)
best = frontier.best(max_loss=5)  # the fewest ReLUs for at most 5 points of validation accuracy; or frontier["S2^RT"]
exported = export_point(frontier, best)
exported.write(target)
samples = write_samples(target, frontier_data(frontier), 4)

cost = predict(exported.plan).total
print(f"{best.name}: {exported.convs_before} linear ops became {exported.convs_after}")
print(f"accuracy {exported.float_accuracy:.2f} % in floating point, {exported.quantized_accuracy:.2f} % in integers")
print(f"{cost.relus:,} ReLUs, {cost.online.down_bytes:,} bytes to the client online, {cost.online.rounds} rounds")
print(f"{len(samples)} pictures to try it with in {target}/samples")
