"""What the rooms hand each other: texts out of the store, embeddings back into it. No SQL, no model."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ids = Sequence[int | str]

UNIT_NORM_TOLERANCE: Final = 1e-3
"""Single precision leaves an error of about 1e-7 on a unit vector's length; other tools round to 3 or 4 digits."""


class InvalidEmbeddings(ValueError):
    """Vectors that must not reach a table: wrong shape, not finite, not of unit norm, or an id twice."""


@dataclass(frozen=True)
class SourceTexts:
    """A page of rows whose text is to be encoded, in the table's order; one entry per row in each field.

    ``row_versions`` are xmin and ``source_md5`` the server's md5 of the stored text (16 bytes), both read in the same
    statement as the text: together they let the write refuse a row that has changed meanwhile.
    """

    ids: Ids
    texts: Sequence[str]
    row_versions: Sequence[int]
    source_md5: Sequence[bytes]

    def __post_init__(self) -> None:
        sizes = {len(self.ids), len(self.texts), len(self.row_versions), len(self.source_md5)}
        if len(sizes) != 1:
            raise ValueError(f"ids, texts, row versions and digests differ in number: {sorted(sizes)}")

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def joined(cls, pages: "Sequence[SourceTexts]") -> "SourceTexts":
        """The rows of several pages, one page after the other."""
        if len(pages) == 1:
            return pages[0]
        return cls(
            ids=[row for page in pages for row in page.ids],
            texts=[text for page in pages for text in page.texts],
            row_versions=[version for page in pages for version in page.row_versions],
            source_md5=[digest for page in pages for digest in page.source_md5],
        )


@dataclass(frozen=True)
class Embeddings:
    """Vectors with the rows they belong to: ids, xmin, md5 (16 bytes each) and a float32 matrix (rows, dimension)."""

    ids: Ids
    row_versions: Sequence[int]
    source_md5: Sequence[bytes]
    vectors: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.vectors.dtype != np.float32 or self.vectors.ndim != 2:
            raise InvalidEmbeddings(
                f"expected a float32 matrix, found {self.vectors.dtype} of {self.vectors.ndim} axes"
            )
        sizes = {len(self.ids), len(self.row_versions), len(self.source_md5), self.vectors.shape[0]}
        if len(sizes) != 1:
            raise InvalidEmbeddings(f"ids, row versions, digests and vectors differ in number: {sorted(sizes)}")
        if any(len(digest) != 16 for digest in self.source_md5):
            raise InvalidEmbeddings("a digest is not 16 bytes long")
        if len(set(self.ids)) != len(self.ids):
            raise InvalidEmbeddings("an id occurs twice")
        if not np.isfinite(self.vectors).all():
            raise InvalidEmbeddings("a vector holds NaN or infinity")
        norms = np.linalg.norm(self.vectors, axis=1)
        if (wrong := np.abs(norms - 1) > UNIT_NORM_TOLERANCE).any():
            raise InvalidEmbeddings(f"a vector has the length {norms[wrong][0]:.4g}; expected 1")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dimension(self) -> int:
        """Numbers per vector."""
        return int(self.vectors.shape[1])


@dataclass(frozen=True)
class UnembeddableRow:
    """A row that gets no vector: ``reason`` is why, or None when nothing is left of its text after preparation."""

    id: int | str
    source_md5: bytes
    reason: str | None


@dataclass(frozen=True)
class EncodedBatch:
    """What became of some rows: vectors, and the rows that cannot have one; ``tokens`` counts what the model read."""

    embeddings: Embeddings
    unembeddable: Sequence[UnembeddableRow] = field(default_factory=tuple)
    tokens: int = 0
    truncated: int = 0
