"""Texts as the model reads them: exact counts and cuts, whatever the text is made of."""

import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.tokens import TextTokenizer, head, slices, why_unreadable

MB = 1 << 20


def tokenizer_of(model: Model) -> TextTokenizer:
    """The tokenizer alone, without weights."""
    from transformers import AutoTokenizer

    return TextTokenizer(AutoTokenizer.from_pretrained(model.location), model)


def ids_of(tokenizer: TextTokenizer, text: str) -> list[int]:
    """What the model reads of one text."""
    return [int(token) for token in tokenizer.tokenize([text]).ids]


def whole(model: Model, texts: Sequence[str]) -> list[list[int]]:
    """The ids of the whole texts, cut afterwards as sentence-transformers cuts them."""
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(model.location)
    found: list[list[int]] = theirs(list(texts), truncation=True, max_length=model.max_seq_length)["input_ids"]
    return found


def test_texts_lie_one_after_the_other_and_can_be_taken_in_any_order(minilm: Model) -> None:
    """A pack holds the rows it was asked for."""
    texts = tokenizer_of(minilm).tokenize(["a farm", "", "friends build a world"])
    assert len(texts) == 3
    assert list(texts.lengths) == [4, 2, 6]
    pack = texts.pack(np.array([2, 0]))
    assert list(pack.lengths) == [6, 4]
    assert list(pack.ids) == [*texts.ids[6:], *texts.ids[:4]]
    assert pack.texts == ["friends build a world", "a farm"]


@pytest.mark.parametrize(
    "text",
    [
        "cozy farm " * 40_000,
        "x" * 300_000,
        "日本語のレビューです。" * 30_000,
        " " * 300_000 + "at the very end",
        "⠿⣿" * 100_000,
        "\x01\x02\x00" * 100_000,
        "👍🏽" * 50_000,
        "antidisestablishmentarianism" * 10_000,
        ("word " * 20_000) + "x" * 200_000,
    ],
    ids=["words", "one word", "no spaces", "spaces first", "braille", "controls", "emoji", "long word", "mixed"],
)
def test_the_head_of_a_very_long_text_is_what_the_whole_would_have_given(
    minilm: Model, narrow: Model, text: str
) -> None:
    """Only as much of it is read as can matter, and not one token differs."""
    for model in (minilm, narrow):
        found = tokenizer_of(model).tokenize([text])
        assert [int(token) for token in found.ids] == whole(model, [text])[0]
        assert (found.counts[0] > found.lengths[0]) == (found.lengths[0] == model.max_seq_length)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=12), st.integers(min_value=1, max_value=300))
def test_any_text_is_cut_where_the_whole_text_would_be(texts: list[str], times: int) -> None:
    """Random Unicode, repeated until it is far above the maximum."""
    from steam_assets.encoder.models import DEMO_MODEL, find_model

    model = find_model(DEMO_MODEL)
    long = [(text + " ") * times for text in texts]
    tokenizer = tokenizer_of(model)
    assert [ids_of(tokenizer, text) for text in long] == [list(ids) for ids in whole(model, long)] if long else True


def test_50_mb_in_one_row_take_neither_minutes_nor_gigabytes(minilm: Model) -> None:
    """It is embedded as far as the model reads, and counted as cut."""
    tokenizer = tokenizer_of(minilm)
    started = time.monotonic()
    found = tokenizer.tokenize(["explore " * (50 * MB // 8), "short"])
    assert time.monotonic() - started < 20
    assert list(found.lengths) == [256, 3]
    assert found.counts[0] > 256


@pytest.mark.parametrize(("texts", "tokens"), [(["", "a"], [2, 3]), (["farm " * 100_000], [256])])
def test_no_token_one_token_and_a_hundred_thousand(minilm: Model, texts: list[str], tokens: list[int]) -> None:
    """An empty text still has its special tokens."""
    assert list(tokenizer_of(minilm).tokenize(texts).lengths) == tokens


def test_half_a_character_makes_a_text_unreadable_and_no_other(minilm: Model) -> None:
    """The tokenizer itself would refuse the whole call."""
    found = tokenizer_of(minilm).tokenize(["fine", "half \ud800 character", "fine too"])
    assert found.unreadable == {1: "no valid Unicode: a lone surrogate U+D800 at character 5"}
    assert list(found.lengths) == [3, 2, 4]
    assert why_unreadable("日本語 👍🏽 \x00 ⠿") is None


def test_counts_are_before_truncation(minilm_encoder: Encoder) -> None:
    """What a cut costs can be told before anything is embedded."""
    assert list(minilm_encoder.count_tokens(["farm " * 254, "farm " * 255, "farm " * 1000])) == [256, 257, 1002]


def test_a_head_ends_with_a_whole_word_where_there_is_white_space() -> None:
    """A word that is cut in two would have other tokens."""
    assert head("cozy farming game", 100) == "cozy farming game"
    assert head("cozy farming game", 10) == "cozy "
    assert head("cozyfarminggame", 10) == "cozyfarmin"
    assert head("     ", 3) == "   "


def test_a_call_is_bounded_in_characters_and_never_empty() -> None:
    """One long text is a call of its own."""
    assert slices(["ab", "c", "defgh", "i"], 3) == [(0, 2), (2, 3), (3, 4)]
    assert slices([], 3) == []
    assert slices(["abcdef"], 3) == [(0, 1)]
