"""What a person types: points, targets, connections, addresses, sizes."""

from __future__ import annotations

from collections.abc import Iterator

from deepreduce.cli.options import parse_pairs, parse_shape, parse_size
from deepreduce.cli.units import parse_address, parse_bytes, shown_address
from deepreduce.errors import DeepReduceError
from deepreduce.plan.cost.network_link import parse_link
from fuzz.target import target

PARSERS = (
    lambda text: parse_link(text),
    lambda text: parse_address(shown_address(*parse_address(text))),
    lambda text: parse_bytes(text, "the memory"),
    lambda text: parse_shape(text),
    lambda text: parse_size(text),
    lambda text: parse_pairs([text], "stage"),
)


def typed_seeds() -> Iterator[bytes]:
    texts = (
        ("lan", "200Mbit,20ms", "1e5,3us"),
        ("127.0.0.1:7000", "[::1]:7000", "name:99999"),
        ("500MB", "8GiB", "12", "1.5k"),
        ("3x32x32",),
        ("64x64",),
        ("early=layer1.*",),
    )
    for parser, examples in enumerate(texts):
        for text in examples:
            yield bytes([parser]) + text.encode()
    yield bytes([2]) + b"9" * 400
    yield bytes([3]) + b"1" * 3000 + b"x1x1"


@target(typed_seeds)
def typed(data: bytes) -> None:
    """Every small grammar that needs no torch."""
    if data:
        PARSERS[data[0] % len(PARSERS)](data[1:].decode("utf-8", "replace"))


assert issubclass(DeepReduceError, Exception)
