"""Texts to vectors: packs that fit, retried smaller when memory runs out. What runs the model is a Backend."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from steam_assets.embeddings import EncodedBatch, SourceTexts
from steam_assets.encoder.backend import Backend, CannotEmbed, Pack, Vectors
from steam_assets.encoder.batching import MemoryEvent, TokenBudget, longest_first
from steam_assets.encoder.memory import is_out_of_memory, is_poisoned
from steam_assets.encoder.models import Model
from steam_assets.encoder.preparation import Preparation
from steam_assets.encoder.tokens import TextTokenizer, TokenizedTexts
from steam_assets.encoder.windows import Window, tokenized_windows
from steam_assets.errors import SteamAssetsError

logger = logging.getLogger(__name__)

T = TypeVar("T")

PROBE = "a farm"
EVENTS_KEPT = 1000


class DeviceFailed(SteamAssetsError):
    """Not even a few words can be embedded any more, so no text is to blame."""


@dataclass(frozen=True)
class EncodedPack:
    """Texts of one forward: unit vectors (texts, dimension) float32, and the texts that have none with the reason."""

    texts: NDArray[np.intp]
    vectors: Vectors
    failed: Mapping[int, str]


@dataclass(frozen=True)
class Work:
    """Forwards, the tokens the model read in them, and what it computed with padding."""

    forwards: int = 0
    tokens: int = 0
    padded_tokens: int = 0

    def including(self, tokens: int, padded_tokens: int) -> "Work":
        """With one forward more."""
        return Work(self.forwards + 1, self.tokens + tokens, self.padded_tokens + padded_tokens)

    def since(self, earlier: "Work") -> "Work":
        """What was done after ``earlier``."""
        forwards, tokens = self.forwards - earlier.forwards, self.tokens - earlier.tokens
        return Work(forwards, tokens, self.padded_tokens - earlier.padded_tokens)

    @property
    def padding_share(self) -> float:
        """Padding in what was computed, 0 to 1."""
        return 1 - self.tokens / self.padded_tokens if self.padded_tokens else 0.0


class Encoder:
    """A model behind its tokenizer; ``budget`` is what memory errors taught it, ``memory_events`` are those errors."""

    def __init__(
        self, model: Model, tokenizer: TextTokenizer, backend: Backend, batch_tokens: int | None = None
    ) -> None:
        self.model = model
        self.backend = backend
        self.budget = TokenBudget(batch_tokens or backend.batch_tokens)
        self.memory_events: deque[MemoryEvent] = deque(maxlen=EVENTS_KEPT)
        self.memory_errors = 0
        self.work = Work()
        self._tokenizer = tokenizer
        logger.info(
            "%s (%s) through %s on %s (%s) in %s, %s, %d tokens a batch.",
            *(model.name, model.revision[:19], backend.name, backend.device, backend.device_name, backend.dtype),
            "padded" if backend.packing.padded else "without padding",
            self.budget.tokens,
        )

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors (texts, dimension) in the order given; raises CannotEmbed when a text cannot have one."""
        vectors = np.empty((len(texts), self.model.dimension), dtype=np.float32)
        for pack in self._packs(self._tokenizer.tokenize(texts)):
            for row, reason in pack.failed.items():
                raise CannotEmbed(f"Text {row} of {len(texts)} cannot be embedded: {reason}. Shorten or correct it.")
            vectors[pack.texts] = pack.vectors
        return vectors

    def windows(self, pages: Iterable[SourceTexts], preparation: Preparation) -> Iterator[Window]:
        """Pages prepared and tokenized, the same text once; this needs no device, and may be done ahead in a thread."""
        return tokenized_windows(pages, preparation, self._tokenizer)

    def embed(self, windows: Iterable[Window]) -> Iterator[EncodedBatch]:
        """One batch per forward, as soon as it is done; rows of a window come in any order, each exactly once."""
        for window in windows:
            if window.blank:
                yield window.batch([], self._no_vectors(), dict.fromkeys(window.blank))
            counts, lengths = window.texts.counts, window.texts.lengths
            for pack in self._packs(window.texts):
                times = [len(window.rows[text]) for text in pack.texts]
                yield window.batch(
                    [row for text in pack.texts for row in window.rows[text]],
                    np.repeat(pack.vectors, times, axis=0),
                    {row: reason for text, reason in pack.failed.items() for row in window.rows[text]},
                    tokens=int(lengths[pack.texts].sum()),
                    truncated=int(np.dot(counts[pack.texts] > lengths[pack.texts], times)),
                )

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Tokens of each text before truncation, prompt and special tokens included; of a very long one, at least."""
        return self._tokenizer.tokenize(texts).counts

    def _packs(self, texts: TokenizedTexts) -> Iterator[EncodedPack]:
        """Each text once, in no particular order."""
        if texts.unreadable:
            yield EncodedPack(np.zeros(0, dtype=np.intp), self._no_vectors(), texts.unreadable)
        order = longest_first(texts.lengths)
        readable = order[[row not in texts.unreadable for row in order]] if texts.unreadable else order
        for rows, found in self._forwards(texts, readable):
            if isinstance(found, Failure):
                self._require_working_device()
                alone = f"out of memory with {texts.lengths[rows].sum()} tokens alone on {self._place}"
                reason = alone if found.is_memory else found.reason
                yield EncodedPack(rows[:0], self._no_vectors(), {int(row): reason for row in rows})
            else:
                yield self._normalised(rows, found)

    def _forwards(
        self, texts: TokenizedTexts, order: NDArray[np.intp]
    ) -> "Iterator[tuple[NDArray[np.intp], Vectors | Failure]]":
        """What the model makes of the texts in ``order``, a pack at a time; a failure is of one text that was alone.

        The next pack is started before the last one is waited for, where the backend can do that.
        """
        todo = deque([order] if len(order) else [])
        flights: deque[tuple[NDArray[np.intp], Callable[[], Vectors] | Failure]] = deque()
        while todo or flights:
            # Not while a failed pack waits: the budget has yet to learn of it.
            if todo and len(flights) < self.backend.in_flight and not (flights and isinstance(flights[-1][1], Failure)):
                stretch = todo.popleft()
                size = self.backend.packing.size(texts.lengths[stretch], self.budget.tokens)
                if size < len(stretch):
                    todo.appendleft(stretch[size:])
                rows = stretch[:size]
                flights.append((rows, self._attempt(partial(self.backend.start, texts.pack(rows)))))
                continue
            rows, flight = flights.popleft()
            lengths = texts.lengths[rows]
            found = flight if isinstance(flight, Failure) else self._attempt(flight)
            if isinstance(found, Failure) and found.is_memory:
                self._shrink(lengths, found.reason)
                if len(rows) == 1:  # once more, with all memory that larger packs held given back
                    found = self._attempt(partial(self._forward, texts.pack(rows)))
            if isinstance(found, Failure) and len(rows) > 1:
                # What was finished is out already; only this pack is cut again. A refused one is halved: one text of
                # it is to blame, and the budget is not.
                half = len(rows) if found.is_memory else len(rows) // 2
                todo.extendleft(part for part in (rows[half:], rows[:half]) if len(part))
                continue
            if not isinstance(found, Failure):
                self._note_work(lengths)
            yield rows, found

    def _attempt(self, call: Callable[[], T]) -> "T | Failure":
        """What ``call`` gives, or why these texts cannot be had at once; any other error rises."""
        try:
            return call()
        except CannotEmbed as error:
            return Failure(str(error), is_memory=False)
        except (RuntimeError, MemoryError) as error:
            if is_poisoned(error):
                raise DeviceFailed(
                    f"{self._place} has failed: {first_line(error)}. Nothing more can be done on it in this process. "
                    "Run this again: finished rows are kept. If it fails again at once, CUDA_LAUNCH_BLOCKING=1 shows "
                    "where, and --device cpu goes on without it."
                ) from error
            if not is_out_of_memory(error):
                raise
            reason = first_line(error)
        # Out here the error is gone, and its traceback with every activation: the except block would keep them alive.
        self.backend.release_memory()
        return Failure(reason, is_memory=True)

    def _forward(self, pack: Pack) -> Vectors:
        return self.backend.start(pack)()

    def _shrink(self, lengths: NDArray[np.int64], reason: str) -> None:
        cost = self.backend.packing.cost(lengths)
        self.budget.shrink(cost)
        # From a start that was far too high, what was measured is nearer than six times 0.6.
        self.budget.tokens = min(self.budget.tokens, self.backend.batch_tokens)
        event = MemoryEvent(cost, len(lengths), self.budget.tokens, reason)
        self.memory_errors += 1
        self.memory_events.append(event)
        logger.info("%s: %s", self._place, event)

    def _note_work(self, lengths: NDArray[np.int64]) -> None:
        cost = self.backend.packing.cost(lengths)
        self.budget.held(cost)
        self.work = self.work.including(int(lengths.sum()), cost)

    def _normalised(self, rows: NDArray[np.intp], raw: Vectors) -> EncodedPack:
        if raw.shape != (len(rows), self.model.dimension):
            raise DeviceFailed(
                f"{self.model.name} gives {' x '.join(map(str, raw.shape))} numbers for {len(rows)} texts through "
                f"{self.backend.name}; expected {len(rows)} x {self.model.dimension}. Choose another model or backend."
            )
        norms = np.linalg.norm(raw, axis=1, keepdims=True)
        usable = np.isfinite(norms[:, 0]) & (norms[:, 0] > 0)
        if usable.all():
            return EncodedPack(rows, raw / norms, {})
        self._require_working_device()
        failed = {int(row): f"the model gives no finite vector in {self.backend.dtype}" for row in rows[~usable]}
        return EncodedPack(rows[usable], raw[usable] / norms[usable], failed)

    def _require_working_device(self) -> None:
        """Raise unless a few words can be embedded: only then is it the text that is at fault."""
        pack = self._tokenizer.tokenize([PROBE]).pack(np.zeros(1, dtype=np.intp))
        raw = self._attempt(partial(self._forward, pack))
        if isinstance(raw, Failure):
            raise DeviceFailed(
                f"{self._place} cannot even embed {PROBE!r}: {raw.reason}. Stop what else uses it (`nvidia-smi`, "
                "`free`), then run this again: finished rows are kept."
            )
        if not np.isfinite(raw).all() or not raw.any():
            raise DeviceFailed(
                f"{self.model.name} in {self.backend.dtype} on {self._place} gives no finite vector for {PROBE!r}. "
                "Use --dtype fp32, or check the device with `steam-assets doctor`."
            )

    @property
    def _place(self) -> str:
        return f"{self.backend.device} ({self.backend.device_name})"

    def _no_vectors(self) -> Vectors:
        return np.empty((0, self.model.dimension), dtype=np.float32)


@dataclass(frozen=True)
class Failure:
    """Why a pack gave no vectors: memory, which a smaller pack may have, or texts that were refused."""

    reason: str
    is_memory: bool


def first_line(error: BaseException) -> str:
    """An error's first line: torch adds advice for its developers."""
    return str(error).partition("\n")[0] or type(error).__name__
