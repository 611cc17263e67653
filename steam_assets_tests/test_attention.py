"""Attention without padding: each token sees its own text only, at its own position."""

import numpy as np
import pytest

from steam_assets.encoder.attention import equal_lengths, packed_attention, positions, why_not_packed
from steam_assets.encoder.backend import Pack


def pack_of(*texts: list[int]) -> Pack:
    """A pack of these token ids."""
    return Pack(
        np.array([token for text in texts for token in text], dtype=np.int32),
        np.array([len(text) for text in texts], dtype=np.int64),
        [""] * len(texts),
    )


def test_a_pack_knows_where_its_texts_begin_and_how_they_look_padded() -> None:
    """The rectangle is what sentence-transformers' tokenizer would have made."""
    pack = pack_of([5, 6, 7], [8])
    assert list(pack.starts) == [0, 3, 4]
    ids, mask = pack.padded(pad_id=1)
    assert (ids.tolist(), mask.tolist()) == ([[5, 6, 7], [8, 1, 1]], [[1, 1, 1], [1, 0, 0]])
    ids, mask = pack.padded(pad_id=1, left=True)
    assert (ids.tolist(), mask.tolist()) == ([[5, 6, 7], [1, 1, 8]], [[1, 1, 1], [0, 0, 1]])


def test_bert_counts_positions_from_0_in_every_text() -> None:
    """They begin again with each text."""
    assert list(positions(pack_of([5, 6, 7], [8, 9]), "bert", padding_id=0)) == [0, 1, 2, 0, 1]


def test_xlm_roberta_counts_positions_behind_its_padding() -> None:
    """padding_idx + 1 is the first; a padding token in the text itself has none and moves no other."""
    assert list(positions(pack_of([0, 6, 2], [0, 2]), "xlm-roberta", padding_id=1)) == [2, 3, 4, 2, 3]
    assert list(positions(pack_of([0, 1, 6, 1, 2], [0, 2]), "xlm-roberta", padding_id=1)) == [2, 1, 3, 1, 4, 2, 3]


def test_positions_are_what_transformers_itself_counts() -> None:
    """Against its own function, on random ids."""
    import torch
    from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaEmbeddings

    random = np.random.default_rng(0)
    texts = [random.integers(0, 6, size=n).tolist() for n in (9, 4, 4, 1)]
    expected: list[int] = []
    for text in texts:
        theirs = XLMRobertaEmbeddings.create_position_ids_from_input_ids(torch.tensor([text]), 1)  # type: ignore[no-untyped-call]
        expected += theirs[0].tolist()
    assert list(positions(pack_of(*texts), "xlm-roberta", padding_id=1)) == expected


def test_equally_long_neighbours_are_computed_together() -> None:
    """Sorted texts make few stretches."""
    assert equal_lengths(np.array([5, 5, 2])) == ((2, 5), (1, 2))
    assert equal_lengths(np.array([3])) == ((1, 3),)
    assert equal_lengths(np.array([3, 2, 3])) == ((1, 3), (1, 2), (1, 3))


def test_packed_attention_is_attention_within_each_text() -> None:
    """Against the plain formula, text by text."""
    import torch

    torch.manual_seed(0)
    lengths = [4, 4, 2, 1]
    query, key, value = (torch.randn(1, 3, sum(lengths), 8) for _ in range(3))
    found, weights = packed_attention(
        None, query, key, value, None, scaling=0.5, equal_lengths=equal_lengths(np.array(lengths))
    )
    assert weights is None
    start = 0
    for length in lengths:
        text = slice(start, start := start + length)
        scores = torch.softmax(0.5 * query[0, :, text] @ key[0, :, text].transpose(1, 2), dim=-1)
        expected = (scores @ value[0, :, text]).transpose(0, 1)
        assert torch.allclose(found[0, text], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("model_type", "pooling", "device", "dtype", "reason"),
    [
        ("bert", "mean", "cpu", "fp32", None),
        ("xlm-roberta", "cls", "cpu", "bf16", None),
        ("mpnet", "mean", "cpu", "fp32", "a mpnet model"),
        ("bert", "max", "cpu", "fp32", "max pooling"),
        ("bert", "cls", "cuda:0", "fp32", "fp32 on CUDA"),
    ],
)
def test_where_padding_cannot_be_left_out_the_reason_is_known(
    model_type: str, pooling: str, device: str, dtype: str, reason: str | None
) -> None:
    """Other families count positions or relate tokens in ways of their own."""
    assert why_not_packed(model_type, pooling, device, dtype) == reason


@pytest.mark.gpu
def test_torchs_varlen_attention_agrees_with_the_cpu() -> None:
    """The same packed tensors through flash attention in 16 bit."""
    import torch

    torch.manual_seed(0)
    lengths = np.array([300, 300, 17, 1])
    query, key, value = (torch.randn(1, 4, int(lengths.sum()), 64) for _ in range(3))
    expected, _ = packed_attention(None, query, key, value, None, equal_lengths=equal_lengths(lengths))
    starts = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32, device="cuda")
    q, k, v = (tensor.to("cuda", torch.bfloat16) for tensor in (query, key, value))
    found, _ = packed_attention(None, q, k, v, None, cu_seq_lens_q=starts, max_length_q=300)
    assert torch.allclose(found.float().cpu(), expected, atol=0.02)
