"""Texts as the model reads them: thousands tokenized in one call, cut at the model's maximum, none silently."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steam_assets.encoder.backend import Pack
from steam_assets.encoder.models import Model, UnknownModel

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer
    from transformers import PreTrainedTokenizerBase

CALL_CHARACTERS = 4 << 20
"""Of one call: its result takes about 100 bytes a token until the ids are taken out of it."""
CHARACTERS_PER_TOKEN = 32
"""How much of a long text is tokenized at first; English has about 4 characters a token."""
CUT_MARGIN = 64
"""A cut inside a word changes the tokens near it, at most these; the words before it keep theirs."""


@dataclass(frozen=True)
class TokenizedTexts:
    """Texts with their token ids: int32 (tokens,), one text after the other, ``starts`` int64 (texts + 1,).

    ``counts`` are the tokens before truncation, at least; ``unreadable`` says why a text has no tokens of its own.
    """

    texts: Sequence[str]
    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    unreadable: Mapping[int, str]

    def __len__(self) -> int:
        return len(self.counts)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text after truncation."""
        return np.diff(self.starts)

    def pack(self, rows: NDArray[np.intp]) -> Pack:
        """These texts as a backend takes them."""
        pieces = [self.ids[self.starts[row] : self.starts[row + 1]] for row in rows]
        return Pack(np.concatenate(pieces), self.lengths[rows], [self.texts[int(row)] for row in rows])


class TextTokenizer:
    """The model's own fast tokenizer, without padding; it may be used in any thread."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", model: Model) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise UnknownModel(f"{model.name} has no fast tokenizer; expected a tokenizer.json. Choose another model.")
        self._backend = copy_of(tokenizer)
        self._backend.no_padding()
        self._backend.enable_truncation(model.max_seq_length, direction=tokenizer.truncation_side)
        self._specials = self._backend.num_special_tokens_to_add(is_pair=False)
        self._prompt = model.prompt
        self._most = model.max_seq_length
        # The head of a long text is enough where its end is cut off, not where its beginning is.
        self._needs_whole_texts = tokenizer.truncation_side == "left"

    def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
        """Every text's ids, found in Rust threads with the GIL free; invalid Unicode makes a text ``unreadable``."""
        prompted = [self._prompt + text for text in texts]
        unreadable = {row: reason for row, text in enumerate(prompted) if (reason := why_unreadable(text)) is not None}
        for row in unreadable:
            prompted[row] = ""
        ids: list[NDArray[np.int32]] = []
        counts: list[int] = []
        for start, stop in slices(prompted, CALL_CHARACTERS):
            for encoding in self._encode(prompted[start:stop]):
                ids.append(np.array(encoding.ids, dtype=np.int32))
                counts.append(self._count(encoding))
        lengths = np.array([len(found) for found in ids], dtype=np.int64)
        return TokenizedTexts(
            texts=prompted,
            ids=np.concatenate(ids) if ids else np.zeros(0, dtype=np.int32),
            starts=np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)]),
            counts=np.array(counts, dtype=np.int64),
            unreadable=unreadable,
        )

    def _encode(self, texts: Sequence[str]) -> "list[Encoding]":
        """One call for all; a text far above the maximum is read only as far as it can matter."""
        most = self._most * CHARACTERS_PER_TOKEN
        if self._needs_whole_texts or all(len(text) <= most for text in texts):
            return self._backend.encode_batch_fast(list(texts))
        encodings = self._backend.encode_batch_fast([head(text, most) for text in texts])
        for row, text in enumerate(texts):
            characters = most
            # [UNK] for a word of a million letters, or for a page of spaces nothing: then more has to be read.
            while characters < len(text) and self._count(encodings[row]) < self._most + CUT_MARGIN:
                characters *= 4
                (encodings[row],) = self._backend.encode_batch_fast([head(text, characters)])
        return encodings

    def _count(self, encoding: "Encoding") -> int:
        return len(encoding) + sum(len(part) - self._specials for part in encoding.overflowing)


def copy_of(tokenizer: "PreTrainedTokenizerBase") -> "Tokenizer":
    """A fast tokenizer of our own: transformers sets padding and truncation on its one at every call, in any thread."""
    from tokenizers import Tokenizer

    theirs: Any = tokenizer.backend_tokenizer
    return Tokenizer.from_str(theirs.to_str())


def why_unreadable(text: str) -> str | None:
    """Why a tokenizer would refuse a text: Python strings can hold half a character, which no encoding knows."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"no valid Unicode: a lone surrogate U+{ord(text[error.start]):04X} at character {error.start}"
    return None


def head(text: str, characters: int) -> str:
    """The beginning of a text, cut at the last white space before ``characters``, or there when there is none."""
    if len(text) <= characters:
        return text
    found = text[:characters]
    words = found.rstrip().rsplit(maxsplit=1)
    return found[: len(found.rstrip()) - len(words[1])] if len(words) == 2 else found


def slices(texts: Sequence[str], characters: int) -> list[tuple[int, int]]:
    """Neighbours whose texts have at most so many characters together, at least one text: as (start, stop)."""
    found: list[tuple[int, int]] = []
    start = size = 0
    for row, text in enumerate(texts):
        if row > start and size + len(text) > characters:
            found.append((start, row))
            start, size = row, 0
        size += len(text)
    return [*found, (start, len(texts))] if texts else []
