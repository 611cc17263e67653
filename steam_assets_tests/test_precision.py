"""How near is near enough: what the comparison with fp32 measures, and that nothing spoiled passes it."""

import json
import re
from dataclasses import asdict

import numpy as np
import pytest
from numpy.typing import NDArray

from steam_assets.encoder.backend import Vectors
from steam_assets.encoder.precision import BLOCK_TEXTS, BucketPrecision, PrecisionReport, buckets_of, compare

GOOD = BucketPrecision(most_tokens=32, texts=10, cosine_mean=0.9999, cosine_min=0.9998, recall_at_10=0.99)


def random_vectors(texts: int, dimension: int = 64, seed: int = 0) -> Vectors:
    """Vectors in all directions, of any length."""
    return np.random.default_rng(seed).normal(size=(texts, dimension)).astype(np.float32)


def lengths(texts: int, *tokens: int) -> NDArray[np.int64]:
    """Texts of these lengths in turn."""
    return np.resize(np.array(tokens, dtype=np.int64), texts)


def spoiled(vectors: Vectors, share: float) -> Vectors:
    """With noise of that share of each vector's length."""
    texts, dimension = vectors.shape
    noise = random_vectors(texts, dimension, seed=1)
    scale = share * np.linalg.norm(vectors, axis=1) / np.linalg.norm(noise, axis=1)
    found: Vectors = (vectors + scale[:, None] * noise).astype(np.float32)
    return found


def recall_by_hand(vectors: Vectors, reference: Vectors) -> float:
    """The share of the ten nearest that both agree on, text by text."""
    found = []
    for row in range(len(vectors)):
        nearest = []
        for matrix in (vectors.astype(np.float64), reference.astype(np.float64)):
            cosines = matrix @ matrix[row] / np.linalg.norm(matrix, axis=1)
            cosines[row] = -np.inf
            nearest.append(set(np.argsort(-cosines)[:10].tolist()))
        found.append(len(nearest[0] & nearest[1]) / 10)
    return float(np.mean(found))


def test_the_same_vectors_agree_in_everything() -> None:
    """fp32 passes against itself, whatever the vectors' lengths."""
    vectors = random_vectors(40)
    report = compare(3 * vectors, vectors, lengths(40, 5, 100, 300, 2_000, 9_000))
    assert [bucket.most_tokens for bucket in report.buckets] == [32, 128, 512, 2_048, None]
    assert [bucket.recall_at_10 for bucket in report.buckets] == [1] * 5
    assert report.cosine_min == pytest.approx(1, abs=1e-12)
    assert report.failures() == ()


def test_recall_is_the_share_of_neighbours_that_stay() -> None:
    """It is what counting them text by text gives, also beyond one block of texts."""
    reference = random_vectors(BLOCK_TEXTS + 50)
    vectors = spoiled(reference, 0.1)
    report = compare(vectors, reference, lengths(len(reference), 10))
    assert report.recall_at_10 == pytest.approx(recall_by_hand(vectors, reference))
    assert 0.8 < report.recall_at_10 < 0.99


def test_rounding_that_cosines_do_not_show_is_refused_for_its_neighbours() -> None:
    """A mantissa of three bits, as fp8 has it, keeps every cosine above 0.999, and finds other texts."""
    reference = random_vectors(60)
    mantissa, exponent = np.frexp(reference)
    rounded = np.ldexp(np.round(mantissa * 16) / 16, exponent).astype(np.float32)
    report = compare(rounded, reference, lengths(60, 20, 500))
    assert report.cosine_min > 0.999
    first, second = report.failures()
    assert re.fullmatch(r"30 texts of 1 to 32 tokens: recall@10 0\.9[78]\d{3}, expected at least 0\.99", first)
    assert re.fullmatch(r"30 texts of 129 to 512 tokens: recall@10 0\.9[78]\d{3}, expected at least 0\.99", second)


def test_noise_is_refused_with_each_number_that_is_too_low() -> None:
    """Who is refused reads what was found and what was expected, for mean, lowest and neighbours."""
    reference = random_vectors(60)
    told = compare(spoiled(reference, 0.1), reference, lengths(60, 50)).failures()
    for failure, name in zip(told, ("mean cosine", "lowest cosine", "recall@10"), strict=True):
        expected = rf"60 texts of 33 to 128 tokens: {name} 0\.\d{{5}}, expected at least 0\.99\d*"
        assert re.fullmatch(expected, failure)


def test_one_bad_bucket_among_good_ones_is_caught() -> None:
    """A mean over all texts would hide the few long ones; they are judged alone."""
    reference = random_vectors(300)
    tokens = lengths(300, *[20] * 14, 4_000)
    vectors = np.where((tokens > 2_048)[:, None], spoiled(reference, 0.05), reference)
    report = compare(vectors, reference, tokens)
    assert report.cosine_mean > 0.9999
    assert [bucket.failures() == () for bucket in report.buckets] == [True, False]
    assert all("20 texts of 2,049 tokens and more: " in failure for failure in report.failures())


def test_a_text_is_looked_for_among_those_of_all_lengths() -> None:
    """A short text that moved to a long one's place is a neighbour too many, though its own bucket has no other."""
    reference = random_vectors(31)
    vectors = reference.copy()
    vectors[0] = -reference[0]
    short, long = compare(vectors, reference, lengths(31, 20, *[200] * 30)).buckets
    assert (short.texts, short.recall_at_10) == (1, 0)
    assert 0.8 < long.recall_at_10 < 1


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
@pytest.mark.parametrize("in_reference", [False, True])
def test_a_vector_without_a_direction_never_passes(value: float, in_reference: bool) -> None:
    """NaN, infinity and zeros count as the opposite direction, on either side, in one of many texts."""
    good, bad = random_vectors(40), random_vectors(40)
    bad[7] = value
    report = compare(*((good, bad) if in_reference else (bad, good)), lengths(40, 10))
    assert report.cosine_min == -1
    assert any("lowest cosine -1" in failure for failure in report.failures())


@pytest.mark.parametrize("name", ["cosine_mean", "cosine_min", "recall_at_10"])
def test_nan_in_a_report_is_a_failure(name: str) -> None:
    """A comparison that came to nothing is not one that passed."""
    assert GOOD.failures() == ()
    (failure,) = BucketPrecision(**{**asdict(GOOD), name: float("nan")}).failures()
    assert "nan, expected at least" in failure


def test_a_report_of_nothing_does_not_pass() -> None:
    """Without texts there are no low numbers, and no proof."""
    report = compare(random_vectors(0), random_vectors(0), lengths(0))
    assert report.failures() == ("no text was compared",)
    assert np.isnan(report.cosine_min)


def test_equally_near_texts_in_fp32_may_change_places() -> None:
    """Which of twenty copies are the ten nearest is chance; finding other copies is as right."""
    reference = np.repeat(random_vectors(10), 21, axis=0)
    vectors = reference + 1e-6 * random_vectors(210, seed=3)
    assert recall_by_hand(vectors, reference) < 0.8
    assert compare(vectors, reference, lengths(210, 10)).recall_at_10 == 1


def test_equal_vectors_for_all_texts_find_nothing() -> None:
    """A model that says the same of everything gets no neighbour by luck."""
    reference = random_vectors(40)
    assert compare(np.ones_like(reference), reference, lengths(40, 10)).recall_at_10 == 0


def test_of_few_texts_all_others_are_neighbours() -> None:
    """Five texts have four neighbours each, and one has none to lose."""
    reference = random_vectors(5)
    assert compare(reference, reference, lengths(5, 10)).recall_at_10 == 1
    assert compare(-reference[:1], reference[:1], lengths(1, 10)).recall_at_10 == 1
    assert compare(-reference[:1], reference[:1], lengths(1, 10)).failures() != ()


def test_a_bucket_ends_with_the_length_it_is_named_for() -> None:
    """32 tokens are short, 33 are not."""
    tokens = np.array([1, 32, 33, 128, 129, 512, 513, 2_048, 2_049, 8_192])
    assert buckets_of(tokens).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_a_report_survives_json() -> None:
    """What is kept is what was found, to the last digit."""
    reference = random_vectors(50)
    report = compare(spoiled(reference, 0.03), reference, lengths(50, 10, 90, 5_000))
    assert PrecisionReport.from_dict(json.loads(json.dumps(report.as_dict()))) == report


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"buckets": None},
        {"buckets": [1]},
        {"buckets": [{}]},
        {"buckets": [{**asdict(GOOD), "texts": "ten"}]},
        {"buckets": [{**asdict(GOOD), "most_tokens": 33}]},
        {"buckets": [{**asdict(GOOD), "more": 1}]},
    ],
)
def test_what_is_no_report_is_not_read_as_one(found: dict[str, object]) -> None:
    """A file from elsewhere never becomes a verdict."""
    with pytest.raises(ValueError, match="expected"):
        PrecisionReport.from_dict(found)
