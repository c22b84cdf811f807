"""Somebody else's network: an ONNX file becomes a plan, and answers in private as it does in the clear.

    .venv/bin/python examples/7_onnx_network.py

The file is written here, by PyTorch, so that the example needs no download. For a real one, on the command line:
`deepreduce export network.onnx --data folder:my-pictures --out plan`.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

import deepreduce
from deepreduce.export import export_network
from deepreduce.inference import Client, Server
from deepreduce.plan import decode_output, encode_input, run

torch.manual_seed(0)
theirs = nn.Sequential(
    nn.Conv2d(3, 8, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(8, 16, 3, stride=2, padding=1),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(16, 10),
).eval()
images = np.random.default_rng(0).normal(size=(16, 3, 16, 16)).astype(np.float32)

with tempfile.TemporaryDirectory() as place:
    path = Path(place) / "network.onnx"
    torch.onnx.export(theirs, (torch.from_numpy(images[:1]),), path, dynamo=True, verbose=False)
    network = deepreduce.network(str(path), input_shape=(3, 16, 16))

exported = export_network(network, images)  # the images calibrate the plan's scales
plan, weights = exported.plan, exported.weights
with Server(plan, weights) as server:
    port = server.listen("127.0.0.1")
    server.start()
    with Client("127.0.0.1", port, protocol="delphi", mode="single") as client:
        private = client.predict(images[:1])

clear = theirs(torch.from_numpy(images[:1])).detach().numpy()
integers = decode_output(plan, run(plan, weights, encode_input(plan, images[:1]))[plan.output])
print("class in the clear", clear.argmax(), "and in private", private.argmax())
print(f"largest difference from the floating-point logits: {np.abs(private - clear).max():.4f}")
print("the same as the plan's integers:", bool(np.array_equal(private, integers)))
