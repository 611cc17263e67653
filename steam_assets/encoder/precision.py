"""How near vectors are to the fp32 ones of the same texts, and whether that is near enough. Only numpy; no model."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from steam_assets.encoder.backend import Vectors
from steam_assets.errors import SteamAssetsError

BUCKET_TOKENS = (32, 128, 512, 2_048)
"""The longest text of each bucket; one bucket more has what is longer. Errors of 16 bit grow with length."""
NEIGHBOURS = 10

# Measured with MiniLM on 512 real reviews, fp32 against torch on the CPU: bf16 has a mean of 0.99995, a minimum of
# 0.99976 and recall of 0.987, fp16 0.999999, 0.999997 and 0.999; int8 has 0.97 and 0.90 (research/encoder.md 4).
LEAST_COSINE_MEAN = 0.9995
LEAST_COSINE_MIN = 0.999
LEAST_RECALL = 0.99
"""A cosine of 0.9999 alone does not say whether a search finds the same texts, so both are asked for."""

TIE = 1e-6
"""Cosines of fp32 vectors differ by about 1e-7 with the batch that a text was in: nearer than this is equally near."""
EQUAL = 1e-12
"""The rounding of a sum in double precision."""
BLOCK_TEXTS = 256


class PrecisionRefused(SteamAssetsError):
    """Vectors that are not near enough to those of fp32."""


@dataclass(frozen=True)
class BucketPrecision:
    """Texts of at most ``most_tokens`` (None: any length) that are in no bucket before.

    ``recall_at_10`` is the share of the ten nearest texts in fp32 that are the ten nearest here too.
    """

    most_tokens: int | None
    texts: int
    cosine_mean: float
    cosine_min: float
    recall_at_10: float

    def __str__(self) -> str:
        place = len(BUCKET_TOKENS) if self.most_tokens is None else BUCKET_TOKENS.index(self.most_tokens)
        least = BUCKET_TOKENS[place - 1] + 1 if place else 1
        if self.most_tokens is None:
            return f"{self.texts} texts of {least:,} tokens and more"
        return f"{self.texts} texts of {least:,} to {self.most_tokens:,} tokens"

    def failures(self) -> tuple[str, ...]:
        """A sentence for each number that is too low; NaN always is."""
        found = (
            ("mean cosine", self.cosine_mean, LEAST_COSINE_MEAN),
            ("lowest cosine", self.cosine_min, LEAST_COSINE_MIN),
            (f"recall@{NEIGHBOURS}", self.recall_at_10, LEAST_RECALL),
        )
        # Never turned round to `value < least`, which NaN would pass.
        return tuple(
            f"{self}: {name} {value:.5f}, expected at least {least}"
            for name, value, least in found
            if not value >= least
        )


@dataclass(frozen=True)
class PrecisionReport:
    """How near vectors are to those of fp32, for each bucket of lengths that has texts, the shortest first."""

    buckets: tuple[BucketPrecision, ...]

    @property
    def texts(self) -> int:
        """How many texts were compared."""
        return sum(bucket.texts for bucket in self.buckets)

    @property
    def cosine_mean(self) -> float:
        """Over all texts."""
        return sum(bucket.texts * bucket.cosine_mean for bucket in self.buckets) / max(1, self.texts)

    @property
    def cosine_min(self) -> float:
        """Of all texts; NaN where there are none, or where one has it."""
        return float(np.min([bucket.cosine_min for bucket in self.buckets] or [np.nan]))

    @property
    def recall_at_10(self) -> float:
        """Over all texts: each has the same number of neighbours."""
        return sum(bucket.texts * bucket.recall_at_10 for bucket in self.buckets) / max(1, self.texts)

    def __str__(self) -> str:
        return (
            f"{self.texts} texts: cosine {self.cosine_mean:.6f} in the mean, {self.cosine_min:.6f} at the lowest, "
            f"recall@{NEIGHBOURS} {self.recall_at_10:.4f}"
        )

    def failures(self) -> tuple[str, ...]:
        """What is not near enough, in sentences; nothing when these vectors may be used."""
        if not self.texts:
            return ("no text was compared",)
        return tuple(failure for bucket in self.buckets for failure in bucket.failures())

    def as_dict(self) -> dict[str, object]:
        """For JSON; ``from_dict`` reads it."""
        return {"buckets": [asdict(bucket) for bucket in self.buckets]}

    @classmethod
    def from_dict(cls, found: Mapping[str, object]) -> "PrecisionReport":
        """What ``as_dict`` gave; raises ValueError when it is something else."""
        buckets = found.get("buckets")
        if not isinstance(buckets, list):
            raise ValueError(f"expected a list of buckets, found {type(buckets).__name__}")
        return cls(tuple(_bucket(bucket) for bucket in buckets))


def _bucket(found: object) -> BucketPrecision:
    if not isinstance(found, dict) or found.keys() != BucketPrecision.__dataclass_fields__.keys():
        raise ValueError(f"expected a bucket's numbers, found {found!r:.100}")
    numbers = [value for name, value in found.items() if name != "most_tokens"]
    if found["most_tokens"] not in (*BUCKET_TOKENS, None) or not all(
        isinstance(value, int | float) for value in numbers
    ):
        raise ValueError(f"expected a bucket's numbers, found {found!r:.100}")
    return BucketPrecision(**found)


def buckets_of(tokens: NDArray[np.int64]) -> NDArray[np.intp]:
    """The bucket of each text: [32, 33, 9000] is in 0, 1 and 4."""
    found: NDArray[np.intp] = np.searchsorted(np.array(BUCKET_TOKENS), tokens)
    return found


def compare(vectors: Vectors, reference: Vectors, tokens: NDArray[np.int64]) -> PrecisionReport:
    """Compare vectors (texts, dimension) with those of fp32 in the same order; ``tokens`` are the texts' lengths.

    No text may occur twice. Each is looked for among all others, those of other buckets included; of fewer than eleven
    texts, all others are neighbours. Where fp32 has several equally near texts in the last place, any of them is right;
    where ``vectors`` have, the wrong ones among them count first, so that equal vectors for all find nothing. A vector
    that is zero or not finite, on either side, has a cosine of -1 and no neighbour.
    """
    ours, theirs = _unit(vectors), _unit(reference)
    usable = ours.any(axis=1) & theirs.any(axis=1)
    cosines = np.where(usable, (ours * theirs).sum(axis=1), -1.0)
    neighbours = min(NEIGHBOURS, len(tokens) - 1)
    right = np.where(usable, _right_neighbours(ours, theirs, neighbours), 0)
    found = buckets_of(tokens)
    return PrecisionReport(
        tuple(
            BucketPrecision(
                most_tokens=most,
                texts=int(rows.sum()),
                cosine_mean=float(cosines[rows].mean()),
                cosine_min=float(cosines[rows].min()),
                # Divided once, as whole numbers: 99 of 100 is 0.99 and passes.
                recall_at_10=int(right[rows].sum()) / (int(rows.sum()) * neighbours) if neighbours else 1.0,
            )
            for bucket, most in enumerate((*BUCKET_TOKENS, None))
            if (rows := found == bucket).any()
        )
    )


def _unit(vectors: Vectors) -> NDArray[np.float64]:
    """In double precision and of length 1; zeros for a vector that has no direction."""
    doubled = vectors.astype(np.float64)
    doubled[~np.isfinite(doubled).all(axis=1)] = 0
    norms = np.linalg.norm(doubled, axis=1, keepdims=True)
    found: NDArray[np.float64] = np.divide(doubled, norms, out=np.zeros_like(doubled), where=norms > 0)
    return found


def _right_neighbours(ours: NDArray[np.float64], theirs: NDArray[np.float64], neighbours: int) -> NDArray[np.int64]:
    """How many of each text's nearest are among its nearest in fp32."""
    found = np.zeros(len(ours), dtype=np.int64)
    for start in range(0, len(ours) if neighbours else 0, BLOCK_TEXTS):
        rows = slice(start, start + BLOCK_TEXTS)
        here, there = _similarities(ours, rows), _similarities(theirs, rows)
        right = there >= _last_place(there, neighbours) - TIE
        last = _last_place(here, neighbours)
        nearer, tied = here > last + EQUAL, np.abs(here - last) <= EQUAL
        places_left = neighbours - nearer.sum(axis=1)
        found[rows] = (nearer & right).sum(axis=1) + np.maximum(0, places_left - (tied & ~right).sum(axis=1))
    return found


def _similarities(vectors: NDArray[np.float64], rows: slice) -> NDArray[np.float64]:
    """Cosines of some texts to all; a text is not its own neighbour, and one without a vector is nobody's."""
    found: NDArray[np.float64] = vectors[rows] @ vectors.T
    found[:, ~vectors.any(axis=1)] = -2
    found[np.arange(len(found)), rows.start + np.arange(len(found))] = -2
    return found


def _last_place(similarities: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.partition(similarities, -neighbours, axis=1)[:, -neighbours, None]
    return found
