"""The homomorphic phase: milliseconds of server and client per operation, against reading the cached weights once.

    python bench/core/he.py [--paths avx512,avx2] [--threads 1] [--rounds 15] [--bits 32] [--seal]

The floor is what the machine takes to read the weight polynomials from memory, measured in the same run (a dot product
of two long vectors by one thread); a server that reads each weight once per inference cannot be faster with one
thread. Best and median of the rounds. --seal adds SEAL's transform and plaintext product (tenseal.sealapi) for the same
degree and primes. Kernels alone: bench/core/he_kernels.cpp.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the floor is one thread's

import numpy as np

from deepreduce import _core

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))
from he_op import Exchange, Op, random_ring

# The two ends of ResNet18 on 32x32 images, padded maps as they travel.
OPERATIONS = {
    "conv 64@32x32 3x3": Op(64, 64, 1, (3, 3), (34, 34), 3, 1, 4096),
    "conv 512@4x4 3x3": Op(512, 512, 1, (3, 3), (6, 6), 16, 7, 4096),
}


def milliseconds(work) -> tuple[float, object]:
    started = time.perf_counter()
    result = work()
    return 1e3 * (time.perf_counter() - started), result


def bandwidth() -> float:
    """Bytes per second that one thread reads from memory."""
    a, b = np.ones(1 << 24), np.ones(1 << 24)
    return 2 * a.nbytes / min(milliseconds(lambda: a @ b)[0] for _ in range(9)) * 1e3


def measure(op: Op, bits: int, threads: int, rounds: int) -> dict[str, list[float]]:
    rng = np.random.default_rng(1)
    w = rng.integers(-2047, 2048, (op.outputs, op.inputs // op.groups, *op.kernel)).astype(np.int16)
    load_ms, both = milliseconds(lambda: Exchange(bits, op, w))
    masks, polynomials = (
        random_ring(rng, bits, both.positions.size),
        op.polynomials(random_ring(rng, bits, (op.inputs, *op.area))),
    )
    times = {"encrypt": [], "receive": [], "respond": [], "decrypt": []}

    def receive(sent: bytes):
        upload = _core.HeUpload(bits, op.blocks_in)
        upload.add(sent, threads)
        return upload

    for _ in range(rounds):
        took, sent = milliseconds(lambda: both.client.encrypt(polynomials, threads))
        times["encrypt"].append(took)
        took, upload = milliseconds(lambda: receive(sent))  # noqa: B023 (called at once)
        times["receive"].append(took)
        took, responses = milliseconds(lambda: both.respond(upload, masks, threads))  # noqa: B023 (called at once)
        times["respond"].append(took)
        took, _ = milliseconds(lambda: both.decrypt(responses, threads))  # noqa: B023 (called at once)
        times["decrypt"].append(took)
    times["load"] = [load_ms]
    times["bytes"] = [len(sent), len(responses), both.weights.memory_bytes]
    return times


def report(name: str, path: str, times: dict[str, list[float]], rate: float) -> None:
    def both(*parts: str) -> str:
        rounds = [sum(values) for values in zip(*(times[part] for part in parts), strict=True)]
        return f"{min(rounds):7.2f} ({statistics.median(rounds):6.2f}) ms"

    up, down, memory = times["bytes"]
    floor = 1e3 * memory / rate
    server = min(map(sum, zip(times["receive"], times["respond"], strict=True)))
    print(
        f"{name}, {path}: server {both('receive', 'respond')} (respond {both('respond')}), "
        f"client {both('encrypt', 'decrypt')}"
    )
    print(
        f"    weights {memory / 1e6:.0f} MB, loaded with keys in {times['load'][0]:.0f} ms; floor {floor:.2f} ms, "
        f"ratio {server / floor:.2f}; up {up / 1e6:.2f} MB, down {down / 1e6:.2f} MB"
    )


def seal() -> None:
    """SEAL's transform and products of a ciphertext by a plaintext, both in evaluations, N = 4096, our two primes."""
    import tenseal
    from tenseal import sealapi

    parameters = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.BFV)
    parameters.set_poly_modulus_degree(4096)
    parameters.set_coeff_modulus([sealapi.Modulus(p) for p in _core.he_parameters(32)["primes"]])
    parameters.set_plain_modulus(sealapi.Modulus(2**32))
    context = sealapi.SEALContext(parameters, False, sealapi.SEC_LEVEL_TYPE.TC128)  # no prime kept back for keys
    keys = sealapi.KeyGenerator(context)
    public, encrypted, total = sealapi.PublicKey(), sealapi.Ciphertext(context), sealapi.Ciphertext(context)
    keys.create_public_key(public)
    encryptor, evaluator = sealapi.Encryptor(context, public), sealapi.Evaluator(context)
    plain = sealapi.Plaintext(" + ".join(f"{i % 2047 + 1:X}x^{i}" for i in range(4095, 0, -1)))
    encryptor.encrypt(plain, encrypted)
    evaluator.transform_to_ntt_inplace(plain, encrypted.parms_id())
    forward, product, add = [], [], []
    for _ in range(200):
        forward.append(milliseconds(lambda: evaluator.transform_to_ntt_inplace(encrypted))[0] / 4)
        product.append(milliseconds(lambda: evaluator.multiply_plain(encrypted, plain, total))[0])
        add.append(milliseconds(lambda: evaluator.add_inplace(total, encrypted))[0])
        evaluator.transform_from_ntt_inplace(encrypted)
    print(
        f"SEAL by tenseal {tenseal.__version__}: transform {1e3 * min(forward):.1f} us, plaintext product "
        f"{1e3 * min(product):.1f} us, addition {1e3 * min(add):.1f} us (ciphertexts of two halves and two primes)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paths", default=",".join(reversed(_core.cpu_paths())))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--bits", type=int, default=32)
    parser.add_argument("--seal", action="store_true")
    arguments = parser.parse_args()
    rate = bandwidth()
    print(
        f"Python {platform.python_version()}, {arguments.threads} thread(s), {arguments.rounds} rounds: best (median)"
    )
    print(f"one thread reads {rate / 1e9:.1f} GB/s from memory")
    for path in arguments.paths.split(","):
        _core.select_cpu_path(path)
        for name, op in OPERATIONS.items():
            report(name, path, measure(op, arguments.bits, arguments.threads, arguments.rounds), rate)
    if arguments.seal:
        seal()


if __name__ == "__main__":
    main()
