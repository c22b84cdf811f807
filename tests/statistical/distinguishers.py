"""Simple distinguishers of two heaps of byte strings, each with an exact probability of a false alarm.

Every test comes down to a score for each string and the rank-sum (Mann-Whitney) test of the scores of one class against
the other's. If the classes cannot be told apart, all orders of the scores are equally likely, whatever the score:
p = P(so large a rank sum) is exact, and needs no assumption on the bytes. A classifier is trained on one half and
scores the other, so the same holds; both halves take their turn. Ties are broken by lot.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
from scipy.stats import mannwhitneyu
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

TESTS = 11
POSITIONS = 4096  # bytes of a string that the logistic regression looks at


def distinguish(
    strings: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> Iterator[tuple[str, float, float]]:
    """(test, AUC, p) of each of `TESTS` tests for strings uint8 [n, length] and labels 0 or 1 [n]."""
    for name, scores in _scalars(strings):
        yield name, *_ranked(scores, labels, rng, "two-sided")
    histograms = np.stack([np.bincount(row, minlength=256) for row in strings]).astype(np.float64)
    chosen = np.linspace(0, strings.shape[1] - 1, min(POSITIONS, strings.shape[1])).astype(int)
    positions = strings[:, chosen].astype(np.float64)
    halves = _halves(labels, rng)
    for number, (train, test) in enumerate((halves, halves[::-1])):
        for name, scores in (
            ("nearest mean", _nearest_mean(strings, labels, train, test)),
            ("logistic, histogram", _logistic(histograms, labels, train, test)),
            ("logistic, positions", _logistic(positions, labels, train, test)),
        ):
            yield f"{name}, half {number}", *_ranked(scores, labels[test], rng, "greater")


def _scalars(strings: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    values = strings.astype(np.float64) - 127.5
    yield "mean of bits", np.bitwise_count(strings).sum(axis=1, dtype=np.int64)
    counts = np.stack([np.bincount(row, minlength=256) for row in strings])
    yield "chi-square of bytes", ((counts - strings.shape[1] / 256.0) ** 2).sum(axis=1)
    for lag in (1, 4, 16):  # bytes, ring elements, blocks
        yield f"autocorrelation {lag}", (values[:, :-lag] * values[:, lag:]).sum(axis=1)


def _halves(labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The same number of each class in both."""
    found: tuple[list[int], list[int]] = ([], [])
    for label in (0, 1):
        members = rng.permutation(np.flatnonzero(labels == label))
        found[0].extend(members[::2])
        found[1].extend(members[1::2])
    return np.array(found[0]), np.array(found[1])


def _nearest_mean(strings: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """How much nearer each is to the mean of class 1, every position counted in units of its spread."""
    means = [strings[train[labels[train] == label]].mean(axis=0) for label in (0, 1)]
    spread = strings[train].std(axis=0) + 1e-3
    direction, middle = (means[1] - means[0]) / spread**2, (means[0] + means[1]) / 2
    return (strings[test] - middle) @ direction


def _logistic(features: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    mean, spread = features[train].mean(axis=0), features[train].std(axis=0) + 1e-3
    scaled = (features - mean) / spread
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a poor distinguisher is still one
        model = LogisticRegression(C=0.01, max_iter=40).fit(scaled[train], labels[train])
    return model.decision_function(scaled[test])


def _ranked(scores: np.ndarray, labels: np.ndarray, rng: np.random.Generator, side: str) -> tuple[float, float]:
    """The AUC of the scores, and how likely one so large is by chance."""
    lots = rng.permutation(len(scores))
    ranks = np.empty(len(scores))
    ranks[np.lexsort((lots, scores))] = np.arange(len(scores))
    one, other = ranks[labels == 1], ranks[labels == 0]
    found = mannwhitneyu(one, other, alternative=side, method="exact")
    return float(found.statistic) / (len(one) * len(other)), float(found.pvalue)


def repeated_blocks(strings: list[bytes], size: int = 16) -> int:
    """How many aligned blocks are there twice. Among n random ones: about n^2 / 2^129."""
    joined = np.concatenate([np.frombuffer(s[: len(s) // size * size], np.uint8) for s in strings])
    blocks = joined.reshape(-1, size).view(f"V{size}").reshape(-1)
    return len(blocks) - len(np.unique(blocks))
