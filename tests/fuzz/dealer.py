"""Base transfers of which a dealer has made one set: INSECURE, so that a session takes milliseconds, for tests only.

Points that are not the dealt ones go to the real code.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np

from deepreduce.inference.protocol import base_ot

COUNT = base_ot.COUNT
Sender, Receiver = base_ot.BaseSender, base_ot.BaseReceiver


@functools.cache
def _dealt() -> tuple[Sender, bytes, np.ndarray, bytes]:
    """A sender, the answer that was sent to it, both keys of every transfer [128, 2, 16], and the ciphertexts."""
    sender = Sender()
    answer = Receiver(sender.message, np.zeros(COUNT, np.uint8)).message
    keys, ciphertexts = sender.keys(answer)
    return sender, answer, keys.reshape(COUNT, 2, -1), ciphertexts


class DealtSender:
    """In place of `BaseSender`."""

    def __init__(self) -> None:
        self.message = _dealt()[0].message

    def keys(self, answer: bytes) -> tuple[np.ndarray, bytes]:
        """Both keys of every transfer, and the ciphertexts."""
        sender, dealt, keys, ciphertexts = _dealt()
        return (keys.reshape(-1).copy(), ciphertexts) if answer == dealt else sender.keys(answer)


def dealt_receiver(sender: bytes, choices: np.ndarray) -> object:
    """In place of `BaseReceiver`."""
    made, answer, keys, _ = _dealt()
    if sender != made.message:
        return Receiver(sender, choices)
    chosen = np.ascontiguousarray(keys[np.arange(COUNT), choices]).reshape(-1)
    receiver = mock.NonCallableMock(spec_set=["message", "keys", "close"], message=answer)
    receiver.keys.side_effect = lambda ciphertexts: chosen
    return receiver


@contextmanager
def dealt_base_transfers() -> Iterator[None]:
    """Both parties of this process use the dealer's."""
    with (
        mock.patch.object(base_ot, "BaseSender", DealtSender),
        mock.patch.object(base_ot, "BaseReceiver", dealt_receiver),
    ):
        yield
