"""Embeddings that refuse to exist when wrong."""

from typing import Any

import numpy as np
import pytest

from steam_assets.embeddings import Embeddings, InvalidEmbeddings, SourceTexts

UNIT = np.eye(2, 4, dtype=np.float32)


def embeddings(**changed: Any) -> Embeddings:
    """Two good rows, but for what the test changes."""
    good: dict[str, Any] = {"ids": [1, 2], "row_versions": [7, 7], "source_md5": [b"0" * 16] * 2, "vectors": UNIT}
    return Embeddings(**(good | changed))


def test_good_embeddings_know_their_shape() -> None:
    """Rows are counted, numbers per vector are the dimension."""
    assert (len(embeddings()), embeddings().dimension) == (2, 4)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"vectors": UNIT.astype(np.float64)}, "found float64 of 2 axes"),
        ({"vectors": UNIT[0]}, "found float32 of 1 axes"),
        ({"ids": [1]}, "differ in number"),
        ({"row_versions": [7]}, "differ in number"),
        ({"source_md5": [b"0" * 16]}, "differ in number"),
        ({"source_md5": [b"0" * 16, b"0" * 15]}, "16 bytes"),
        ({"ids": [1, 1]}, "an id occurs twice"),
        ({"vectors": np.where(UNIT > 0, UNIT, np.float32(np.nan))}, "NaN or infinity"),
        ({"vectors": np.where(UNIT > 0, UNIT, np.float32(np.inf))}, "NaN or infinity"),
        ({"vectors": UNIT * np.float32(0)}, "length 0"),
        ({"vectors": UNIT * np.float32(1.01)}, r"length 1\.01"),
    ],
)
def test_embeddings_that_must_not_reach_a_table_cannot_be_made(changed: dict[str, Any], told: str) -> None:
    """NaN, zero vectors, mixed-up rows: the message says which."""
    with pytest.raises(InvalidEmbeddings, match=told):
        embeddings(**changed)


def test_rounding_of_half_precision_still_counts_as_unit_length() -> None:
    """16 bit leaves an error of some 1e-4 on a vector's length."""
    assert len(embeddings(vectors=UNIT * np.float32(1.0005))) == 2


def test_source_texts_of_unequal_numbers_cannot_be_made() -> None:
    """An id would get its neighbour's text."""
    with pytest.raises(ValueError, match="differ in number"):
        SourceTexts([1, 2], ["a"], [7, 7], [b"0" * 16] * 2)
