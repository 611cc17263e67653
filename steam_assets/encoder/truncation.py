"""Texts cut where the model stops reading, for servers that tokenize them again. Counting is tokens.py."""

from typing import TYPE_CHECKING

from steam_assets.encoder.models import Model
from steam_assets.encoder.tokens import CHARACTERS_PER_TOKEN, CUT_MARGIN, copy_of, head

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase


class Truncation:
    """The model's tokenizer with offsets; it may be used in any thread."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", model: Model) -> None:
        self._tokenizer = copy_of(tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._specials = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        self._room = model.max_seq_length - self._specials
        self._keeps_end = tokenizer.truncation_side == "left"

    def cut(self, text: str) -> tuple[str, int]:
        """The part that the model reads, and its tokens, special ones included: never more than the model's maximum."""
        offsets = self._beginning(text).offsets
        if len(offsets) <= self._room:
            return text, len(offsets) + self._specials
        # Inside a word the part may fall into more tokens than it had there; then one token less is kept.
        for kept in range(self._room, 0, -1):
            part = text[offsets[-kept][0] :] if self._keeps_end else text[: offsets[kept - 1][1]]
            tokens = len(self._encode(part))
            if tokens <= self._room:
                return part, tokens + self._specials
        return "", self._specials

    def _beginning(self, text: str) -> "Encoding":
        """The tokens of a text, or of as much of it as is certain to hold all that is kept."""
        characters = len(text) if self._keeps_end else self._room * CHARACTERS_PER_TOKEN
        encoding = self._encode(head(text, characters))
        while characters < len(text) and len(encoding) < self._room + CUT_MARGIN:
            characters *= 4
            encoding = self._encode(head(text, characters))
        return encoding

    def _encode(self, text: str) -> "Encoding":
        return self._tokenizer.encode(text, add_special_tokens=False)
