"""Vectors equal plain `SentenceTransformer.encode`, in the caller's order; bad rows cost themselves only."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from steam_assets.embeddings import SourceTexts
from steam_assets.encoder.backend import CannotEmbed
from steam_assets.encoder.encoder import DeviceFailed, Encoder
from steam_assets.encoder.loading import EncoderSettings, build_encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.preparation import PREPARATIONS, Preparation
from steam_assets_tests.models import CPU, transformer_of
from steam_assets_tests.vectors import MIXED, by_id, cosines, page, reference

PLAIN = PREPARATIONS["plain"]
TEXTS = [" ".join(["farm"] * (1 + n % 40)) + f" {n}" for n in range(120)]


# --- The same vectors -------------------------------------------------------------------------------------------------


def test_minilm_gives_what_sentence_transformers_gives(minilm: Model, minilm_encoder: Encoder) -> None:
    """Mixed lengths and scripts, empty texts and texts above the maximum, in the caller's order."""
    texts = [*MIXED, "play with friends and build a world " * 50]
    vectors = minilm_encoder.encode(texts)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(texts), 384)
    assert cosines(vectors, reference(minilm, texts)).min() >= 0.99999
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6


def test_the_shape_of_bge_m3_gives_what_sentence_transformers_gives(bge_shaped: Model) -> None:
    """Its positions start after the padding: wrong offsets give cosines of 0.7."""
    texts = [*MIXED, "a game of friends " * 40]
    assert cosines(build_encoder(bge_shaped, CPU).encode(texts), reference(bge_shaped, texts)).min() >= 0.99999


def test_a_text_above_8192_tokens_is_cut_where_sentence_transformers_cuts_it(narrow: Model) -> None:
    """The last position of the table is used, and none behind it."""
    encoder = build_encoder(narrow, CPU)
    texts = ["dragon " * 9000 + "sword"]
    assert encoder.count_tokens(texts)[0] > 8192
    assert cosines(encoder.encode(texts), reference(narrow, texts)).min() >= 0.99999


def test_a_prompt_is_applied_as_sentence_transformers_applies_it(minilm: Model, minilm_encoder: Encoder) -> None:
    """It is part of what is read and counted."""
    from sentence_transformers import SentenceTransformer

    prompted = build_encoder(replace(minilm, prompt="passage: "), CPU)
    theirs = SentenceTransformer(minilm.location, device="cpu").encode(MIXED, prompt="passage: ")
    assert cosines(prompted.encode(MIXED), np.asarray(theirs)).min() >= 0.99999
    assert (prompted.count_tokens(MIXED) - minilm_encoder.count_tokens(MIXED) == 2).all()


def test_the_budget_does_not_change_the_vectors(minilm: Model, minilm_encoder: Encoder) -> None:
    """Even one text at a time."""
    assert (
        cosines(build_encoder(minilm, replace(CPU, batch_tokens=1)).encode(MIXED), minilm_encoder.encode(MIXED)).min()
        >= 0.99999
    )


def test_bf16_stays_close_to_fp32(minilm: Model, minilm_encoder: Encoder) -> None:
    """Mean cosine at least 0.9995, minimum at least 0.999; norms are made in fp32."""
    half = build_encoder(minilm, replace(CPU, dtype="bf16"))
    vectors = half.encode(MIXED)
    found = cosines(vectors, minilm_encoder.encode(MIXED))
    assert half.backend.dtype == "bf16"
    assert found.mean() >= 0.9995
    assert found.min() >= 0.999
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6


def test_no_texts_give_no_vectors(minilm_encoder: Encoder) -> None:
    """An empty matrix of the right width."""
    assert minilm_encoder.encode([]).shape == (0, 384)


def test_tokens_are_counted_before_truncation(minilm: Model, minilm_encoder: Encoder) -> None:
    """As the model's tokenizer counts without a maximum, special tokens included."""
    from transformers import AutoTokenizer

    texts = [*MIXED, "friends " * 1000]
    theirs = AutoTokenizer.from_pretrained(minilm.location)(texts, truncation=False, verbose=False)["input_ids"]
    assert list(minilm_encoder.count_tokens(texts)) == [len(ids) for ids in theirs]


def test_an_encoder_works_in_any_thread(minilm_encoder: Encoder) -> None:
    """The pipeline runs it beside its reader and writer, and a search may run meanwhile."""
    found: list[NDArray[np.float32]] = []
    threads = [threading.Thread(target=lambda: found.append(minilm_encoder.encode(MIXED))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert all(cosines(vectors, found[0]).min() >= 0.99999 for vectors in found)


# --- Pages of rows ----------------------------------------------------------------------------------------------------


def test_each_row_of_a_page_comes_back_once_with_its_version_and_digest(minilm_encoder: Encoder) -> None:
    """Rows that are blank after preparation have no vector and no reason."""
    pages = [page(MIXED), page(["one", "two"], first_id=100)]
    batches = list(minilm_encoder.embed(minilm_encoder.windows(pages, PLAIN)))

    vectors = by_id(batches)
    blank = [row for batch in batches for row in batch.unembeddable]
    assert sorted([*vectors, *(row.id for row in blank)]) == [*range(len(MIXED)), 100, 101]
    assert {(row.id, row.reason) for row in blank} == {(1, None), (2, None)}
    digests = {
        i: d for batch in batches for i, d in zip(batch.embeddings.ids, batch.embeddings.source_md5, strict=True)
    }
    assert digests == {i: d for p in pages for i, d in zip(p.ids, p.source_md5, strict=True) if i in vectors}
    assert all(version == 7 for batch in batches for version in batch.embeddings.row_versions)


def test_rows_get_the_vector_of_their_own_text(minilm_encoder: Encoder) -> None:
    """Sorting and packing do not mix them up."""
    vectors = by_id(list(minilm_encoder.embed(minilm_encoder.windows([page(MIXED)], PLAIN))))
    expected = minilm_encoder.encode(MIXED)
    assert all(vectors[row] @ expected[row] >= 0.99999 for row in vectors)


def test_the_prepared_text_is_what_is_encoded(minilm_encoder: Encoder) -> None:
    """And a text that preparation leaves empty is blank."""
    shout = Preparation("shout", 1, lambda text: text.replace("quiet", "").replace("soft", "loud"))
    batches = list(minilm_encoder.embed(minilm_encoder.windows([page(["soft music", "quiet "])], shout)))
    assert [row.id for batch in batches for row in batch.unembeddable] == [1]
    assert by_id(batches)[0] @ minilm_encoder.encode(["loud music"])[0] >= 0.99999


def test_tokens_and_truncated_texts_are_counted(minilm_encoder: Encoder) -> None:
    """What the model read, not what was padded or cut off."""
    texts = ["friends " * 1000, "friends " * 300, "short"]
    batches = list(minilm_encoder.embed(minilm_encoder.windows([page(texts)], PLAIN)))
    assert sum(batch.tokens for batch in batches) == 256 + 256 + 3
    assert sum(batch.truncated for batch in batches) == 2


def test_batches_come_while_pages_are_still_being_read(minilm_encoder: Encoder) -> None:
    """Memory stays bounded and the first rows are written early."""
    read = []

    def pages() -> Iterator[SourceTexts]:
        for number in range(3):
            read.append(number)
            yield page([f"text {number}"], first_id=number)

    stream = minilm_encoder.embed(minilm_encoder.windows(pages(), PLAIN))
    assert list(next(stream).embeddings.ids) == [0]
    assert read == [0]


# --- Vectors that are none --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_a_row_without_a_finite_vector_is_named_alone(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    """Its neighbours in the same forward keep theirs."""
    transformer = transformer_of(encoder)
    forward, bad = transformer.forward, int(encoder._tokenizer.tokenize(["☃"]).ids[-2])

    def spoiled(**features: Any) -> Any:
        output = forward(**features)
        starts = features["cu_seq_lens_q"].tolist()
        for start, stop in pairwise(starts):
            if bad in features["input_ids"][0, start:stop]:
                output.last_hidden_state[0, start:stop] = value
        return output

    monkeypatch.setattr(transformer, "forward", spoiled)
    batches = list(encoder.embed(encoder.windows([page(["farm", "☃", "friends"])], PLAIN)))
    assert [(row.id, row.reason) for batch in batches for row in batch.unembeddable] == [
        (1, "the model gives no finite vector in fp32")
    ]
    assert sorted(by_id(batches)) == [0, 2]


def test_a_model_that_gives_no_finite_vector_at_all_blames_no_text(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken device or precision is one error, not a table of them."""
    transformer = transformer_of(encoder)
    forward = transformer.forward

    def spoiled(**features: Any) -> Any:
        output = forward(**features)
        output.last_hidden_state[:] = float("nan")
        return output

    monkeypatch.setattr(transformer, "forward", spoiled)
    with pytest.raises(DeviceFailed, match="gives no finite vector"):
        list(encoder.embed(encoder.windows([page(TEXTS)], PLAIN)))


def test_a_text_that_is_no_unicode_is_named_alone(encoder: Encoder) -> None:
    """Half a surrogate pair, as a scraper leaves it behind; the rows around it keep their vectors."""
    batches = list(encoder.embed(encoder.windows([page(["farm", "broken", "friends"])], HALF_A_PAIR)))
    (failed,) = [row for batch in batches for row in batch.unembeddable]
    assert failed.id == 1
    assert failed.reason == "no valid Unicode: a lone surrogate U+D83D at character 6"
    assert sorted(by_id(batches)) == [0, 2]
    with pytest.raises(CannotEmbed, match=r"Text 1 of 2 cannot be embedded: no valid Unicode"):
        encoder.encode(["farm", "broken\ud83d"])


HALF_A_PAIR = Preparation("half", 1, lambda text: text.replace("broken", "broken\ud83d"))


@pytest.mark.parametrize("shape", [(3, 63), (2, 64)])
def test_a_model_of_another_shape_than_it_promises_ends_the_run(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]
) -> None:
    """Too few numbers or too few vectors never become somebody's vector."""
    vectors = np.ones(shape, dtype=np.float32)
    monkeypatch.setattr(encoder.backend, "start", lambda pack: lambda: vectors)
    with pytest.raises(DeviceFailed, match=rf"gives {shape[0]} x {shape[1]} numbers for 3 texts .+ expected 3 x 64"):
        encoder.encode(["a", "b", "c"])


def test_the_same_text_twice_is_encoded_once(encoder: Encoder) -> None:
    """Each of its rows gets the vector, and the model reads it once."""
    texts = ["same", "other", "same", " same", "same"]
    batches = list(encoder.embed(encoder.windows([page(texts)], PLAIN)))
    vectors = by_id(batches)
    assert sorted(vectors) == [0, 1, 2, 3, 4]
    assert (vectors[0] == vectors[2]).all()
    assert (vectors[0] == vectors[4]).all()
    assert (vectors[0] != vectors[1]).any()
    assert sum(batch.tokens for batch in batches) == encoder.count_tokens(["same", "other", " same"]).sum()


def test_two_packs_are_under_way_where_the_backend_can(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device computes one while the next is made ready; the vectors do not change."""
    expected = encoder.encode(TEXTS)
    order: list[str] = []
    start = encoder.backend.start

    def noting(pack: Any) -> Any:
        order.append("start")
        wait = start(pack)

        def noted() -> Any:
            order.append("wait")
            return wait()

        return noted

    monkeypatch.setattr(encoder.backend, "start", noting)
    monkeypatch.setattr(encoder.backend, "in_flight", 2)
    assert cosines(encoder.encode(TEXTS), expected).min() >= 0.99999
    assert order[:4] == ["start", "start", "wait", "start"]
    assert order.count("start") == order.count("wait")


@pytest.mark.gpu
def test_16_bit_on_cuda_stays_close_to_fp32_on_the_cpu(bge_shaped: Model) -> None:
    """Mean cosine at least 0.9995, minimum at least 0.999."""
    encoder = build_encoder(bge_shaped, EncoderSettings(device="cuda"))
    found = cosines(encoder.encode(MIXED), build_encoder(bge_shaped, CPU).encode(MIXED))
    assert encoder.backend.dtype in ("bf16", "fp16")
    assert not encoder.backend.packing.padded
    assert found.mean() >= 0.9995
    assert found.min() >= 0.999
