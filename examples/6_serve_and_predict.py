"""Server and client as two processes, as they would run on two machines: `deepreduce serve` and `deepreduce predict`.

    .venv/bin/python examples/6_serve_and_predict.py example-plan

takes the plan of 4_export_a_plan.py and predicts its sample pictures. Between two machines the server needs a
certificate (--tls-cert, --tls-key) and the client its authority (--tls-ca).
"""

import subprocess
import sys
import tempfile
from pathlib import Path

plan = Path(sys.argv[1] if len(sys.argv) > 1 else "example-plan")
pictures = sorted((plan / "samples").glob("*.png"))
deepreduce = [sys.executable, "-m", "deepreduce"]

with tempfile.TemporaryDirectory() as place:
    server = subprocess.Popen(
        [*deepreduce, "serve", plan, "--listen", "127.0.0.1:0", "--store", f"{place}/server"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        ready = server.stdout.readline().strip()  # "serving PLAN DIGEST on HOST:PORT"
        print(ready)
        address = ready.rsplit(" ", 1)[-1]
        client = [*deepreduce, "predict", address, "--store", f"{place}/client"]
        subprocess.run([*client, "--prepare", str(len(pictures))], check=True)  # before there is a picture
        subprocess.run([*client, *pictures], check=True)
    finally:
        server.terminate()  # it lets running predictions finish
        server.wait()
