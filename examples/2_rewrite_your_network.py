"""Rewrites are pure functions of networks; yours is traced first."""

import torch

import deepreduce
from my_network import build

network = deepreduce.network(build(), input_shape=(3, 32, 32))
print(network.layout.stages, network.relus)

culled = deepreduce.cull(network, {"stem", "S1"})
thinned = deepreduce.thin(culled, {"S2", "S3"})
narrow = deepreduce.reshape(thinned, alpha=0.5, rho=0.5)
print(narrow.point, narrow.relus)
print(narrow(torch.zeros(1, 3, 32, 32)).shape)
