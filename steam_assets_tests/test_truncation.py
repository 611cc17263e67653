"""Where texts are cut for a server: nothing that the model reads is lost, and nothing is too long."""

import pytest

from steam_assets.encoder.models import Model
from steam_assets.encoder.remote import load_tokenizer
from steam_assets.encoder.truncation import Truncation


@pytest.mark.parametrize("name", ["minilm", "narrow"])
def test_a_cut_text_has_no_more_tokens_than_the_model_reads(name: str, request: pytest.FixtureRequest) -> None:
    """Cut inside a word, tokens may fall differently; never into more of them."""
    model: Model = request.getfixturevalue(name)
    tokenizer = load_tokenizer(model)
    truncation = Truncation(tokenizer, model)
    words = ["unbelievable", "farmhouse", "ﷺ", "日本語のレビュー", "🎮🔥👍🏽", "e\u0301", "swordcraftship", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]
    for start in range(len(words)):
        text = " ".join((words[start:] + words[:start]) * 1500)
        part, tokens = truncation.cut(text)
        assert text.startswith(part)
        assert tokens == len(tokenizer(part, verbose=False)["input_ids"])
        assert model.max_seq_length - 40 <= tokens <= model.max_seq_length


def test_a_short_text_is_not_touched(minilm: Model) -> None:
    """White space and all."""
    text = "  two\n words \t"
    assert Truncation(load_tokenizer(minilm), minilm).cut(text) == (text, 4)


def test_the_end_is_kept_where_the_model_reads_the_end(minilm: Model) -> None:
    """Tokenizers that truncate on the left lose the beginning."""
    tokenizer = load_tokenizer(minilm)
    tokenizer.truncation_side = "left"
    part, tokens = Truncation(tokenizer, minilm).cut("lost " * 50 + "kept " * 254)
    assert (part, tokens) == ("kept " * 254, 256)
