"""Both parties on one machine: a reduced ResNet with random weights, one private prediction, and what it cost.

    .venv/bin/python examples/5_private_prediction.py

The two `with` blocks belong on two machines. They speak TLS: on one machine with a development authority, which the
server makes; on two give the server a certificate, `ServerSettings(tls=server_context(...))`.
"""

import numpy as np

from deepreduce.export import plan_of
from deepreduce.inference import Client, Server
from deepreduce.plan import decode_output, encode_input, predict, run

plan, weights = plan_of("resnet10", "S2^RT+S3^RT", width=0.125, classes=10)
image = np.random.default_rng(0).normal(size=(1, *plan.input_shape))

with Server(plan, weights) as server:  # knows the weights
    port = server.listen("127.0.0.1")
    server.start()
    with Client("127.0.0.1", port, protocol="delphi") as client:  # knows the image
        client.prepare(1)
        logits = client.predict(image)
        cost = client.runs[-1]

expected = predict(plan, "delphi").total
print(f"{expected.relus:,} ReLUs, prepared in {cost.offline.seconds:.3f} s, answered in {cost.online.seconds:.3f} s")
print(f"received {cost.online.received_bytes:,} bytes online, predicted {expected.online.down_bytes:,}")
clear = decode_output(plan, run(plan, weights, encode_input(plan, image))[plan.output])
print("the same as in the clear:", bool(np.array_equal(logits, clear)))
