"""`deepreduce serve` and `deepreduce predict` as they are, to be killed from outside at any time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from deepreduce.plan import write_plan, write_weights

from .network import PLAN, WEIGHTS, X

START_S = 60.0


class Commands:
    """``folder`` gets the plan, the input and the logs; it holds the certificates already."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.log = folder / "commands.log"
        self.log.touch()
        (folder / "plan").mkdir()
        write_plan(folder / "plan" / "plan.json", PLAN)
        write_weights(folder / "plan" / "weights.safetensors", PLAN, WEIGHTS)
        np.save(folder / "x.npy", X[0] / 2**PLAN.ring.input_fraction)

    def serve(self, store: Path) -> tuple[subprocess.Popen[str], int]:
        """A server that is ready, and its port."""
        folder = self._folder
        certificates = ("--tls-cert", folder / "certificate.pem", "--tls-key", folder / "key.pem")
        process = self._begin("serve", folder / "plan", "--listen", "127.0.0.1:0", "--store", store, *certificates)
        assert process.stdout is not None
        line = process.stdout.readline()
        process.stdout.close()
        found = re.search(r"on 127\.0\.0\.1:(\d+)\n", line)
        if found is None:
            process.kill()
            process.wait()
            raise RuntimeError(f"serve did not start: {self.log.read_text()[-1000:]}")
        return process, int(found[1])

    def predict(self, port: int, store: Path, protocol: str) -> subprocess.Popen[str]:
        """A client that prepares and predicts a few times."""
        options = ("--tls-ca", self._folder / "authority.pem", "--store", store, "--protocol", protocol, "--array")
        inputs = [self._folder / "x.npy"] * 3
        return self._begin("predict", f"127.0.0.1:{port}", *inputs, "--prepare", 2, *options, "--timeout", 10)

    def _begin(self, *arguments: object) -> subprocess.Popen[str]:
        with self.log.open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "deepreduce", *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
