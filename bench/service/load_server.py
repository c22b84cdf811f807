"""The server of bench/service/load.py, a process without torch: tells its port, serves until it is killed."""

import json
import sys
from pathlib import Path

from deepreduce.inference import Server, ServerSettings, server_context
from deepreduce.plan import read_plan, read_weights


def main() -> None:
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    plan = read_plan(folder / "plan.json")
    weights = read_weights(folder / "weights.safetensors", plan)
    tls = server_context(folder / "certificate.pem", folder / "key.pem")
    server = Server(plan, weights, ServerSettings(tls=tls, timeout_s=300, **settings))
    del weights
    print(json.dumps({"port": server.listen()}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
