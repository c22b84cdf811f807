"""Where a network's ReLUs are: per stage, and how the paper's rewrites change their number."""

import deepreduce

network = deepreduce.network("resnet18")
for stage, cost in deepreduce.count(network).stages.items():
    print(f"{stage:5} {cost.relus:>9,} ReLUs {cost.params:>11,} parameters {cost.macs:>13,} MACs")

for point in (
    "S2+S3+S4",
    "S2^RT+S3^RT+S4^RT",
    "S2^RT+S3^RT+S4^RT, alpha=0.5",
    "S2^RT*+S3^RT*+S4^RT*, alpha=0.5, rho=0.5",
):
    print(f"{deepreduce.reduce_to(network, point).relus:>9,} ReLUs  {point}")
