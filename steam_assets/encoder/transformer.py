"""Texts to vectors: packs that fit, retried smaller when memory runs out. Choosing the model is models.py."""

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from steam_assets.embeddings import Embeddings, EncodedBatch, SourceTexts, UnembeddableRow
from steam_assets.encoder.batching import (
    CPU_BATCH_TOKENS,
    CPU_PAD_SHARE,
    CUDA_BATCH_TOKENS,
    TokenBudget,
    longest_first,
    pack_size,
    padded_tokens,
)
from steam_assets.encoder.device import device_name, find_device, find_dtype
from steam_assets.encoder.loading import PROBE_TEXTS, TextTokenizer, TokenizedTexts, load_modules
from steam_assets.encoder.memory import is_out_of_memory, peak_memory_bytes, release_memory, reset_peak_memory
from steam_assets.encoder.models import Model
from steam_assets.encoder.preparation import Preparation
from steam_assets.errors import SteamAssetsError

logger = logging.getLogger(__name__)


class TextTooLarge(SteamAssetsError):
    """A text that this model cannot embed on this device."""


class DeviceFailed(SteamAssetsError):
    """Not even a few words can be embedded any more, so no text is to blame."""


@dataclass(frozen=True)
class EncodedPack:
    """Rows of one forward: unit vectors (rows, dimension) float32, and the rows that have none with the reason."""

    rows: NDArray[np.intp]
    vectors: NDArray[np.float32]
    failed: dict[int, str]


class Encoder:
    """A loaded model on a device; ``memory_errors`` counts how often memory ran out, ``budget`` is what that taught."""

    def __init__(
        self, model: Model, device: str = "auto", dtype: str = "auto", batch_tokens: int | None = None
    ) -> None:
        self.model = model
        self.device = find_device(device)
        self.dtype = find_dtype(dtype, self.device)
        self.device_name = device_name(self.device)
        on_cpu = self.device == "cpu"
        self.budget = TokenBudget(batch_tokens or (CPU_BATCH_TOKENS if on_cpu else CUDA_BATCH_TOKENS))
        self.memory_errors = 0
        self._pad_share = CPU_PAD_SHARE if on_cpu else None
        self._modules = load_modules(model, self.device, self.dtype)
        self._tokenizer = TextTokenizer(self._modules, model)
        logger.info(
            "%s (%s) on %s (%s) in %s, %d padded tokens a batch.",
            *(model.name, model.revision[:19], self.device, self.device_name, self.dtype, self.budget.tokens),
        )

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors (texts, dimension) in the order given; raises TextTooLarge when a text cannot have one."""
        vectors = np.empty((len(texts), self.model.dimension), dtype=np.float32)
        for pack in self._packs(self._tokenizer.tokenize(texts)):
            for row, reason in pack.failed.items():
                raise TextTooLarge(
                    f"Text {row} of {len(texts)} cannot be embedded: {reason}. "
                    "Shorten it, or use a device with more memory."
                )
            vectors[pack.rows] = pack.vectors
        return vectors

    def embed(self, pages: Iterable[SourceTexts], preparation: Preparation) -> Iterator[EncodedBatch]:
        """One batch per forward, as soon as it is done; rows of a page come in any order, each exactly once."""
        for page in pages:
            prepared = [preparation.prepare(text) for text in page.texts]
            filled = np.array([row for row, text in enumerate(prepared) if text.strip()], dtype=np.intp)
            blank = {row: None for row, text in enumerate(prepared) if not text.strip()}
            if blank:
                yield _batch(page, filled[:0], np.empty((0, self.model.dimension), dtype=np.float32), blank)
            texts = self._tokenizer.tokenize([prepared[row] for row in filled])
            for pack in self._packs(texts):
                read = texts.lengths[pack.rows]
                yield _batch(
                    page,
                    filled[pack.rows],
                    pack.vectors,
                    {int(filled[row]): reason for row, reason in pack.failed.items()},
                    tokens=int(read.sum()),
                    truncated=int((texts.counts[pack.rows] > read).sum()),
                )

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Tokens of each text before truncation, with prompt and special tokens."""
        return self._tokenizer.tokenize(texts).counts

    def peak_memory_bytes(self) -> int:
        """The most memory so far: on CUDA what torch allocated, else what the process occupied."""
        return peak_memory_bytes(self.device)

    def reset_peak_memory(self) -> None:
        """Start ``peak_memory_bytes`` again; on the CPU it stays the process's."""
        reset_peak_memory(self.device)

    def _packs(self, texts: TokenizedTexts) -> Iterator[EncodedPack]:
        order = longest_first(texts.lengths)
        lengths = texts.lengths[order]
        start = 0
        while start < len(order):
            size = pack_size(lengths, start, self.budget.tokens, self._pad_share)
            rows, cost = order[start : start + size], padded_tokens(size, int(lengths[start]))
            raw = self._forward(texts, rows)
            if raw is None:
                self.budget.shrink(cost)
                if size > 1:
                    continue  # what was finished is out already; only this pack is cut again
                raw = self._forward(texts, rows)  # alone, with all memory that the larger packs held given back
            start += size
            if raw is None:
                yield self._blame(rows, f"out of memory with {cost} tokens alone on {self.device} ({self.device_name})")
                continue
            self.budget.held(cost)
            yield self._normalised(rows, raw)

    def _forward(self, texts: TokenizedTexts, rows: NDArray[np.intp]) -> NDArray[np.float32] | None:
        """The model's output for these rows, or None when memory ran out; any other error rises."""
        import torch

        try:
            with torch.inference_mode():
                features = {
                    name: value.to(self.device) if isinstance(value, torch.Tensor) else value
                    for name, value in self._tokenizer.features(texts, rows).items()
                }
                output: torch.Tensor = self._modules(features)["sentence_embedding"]
                found: NDArray[np.float32] = output[:, : self.model.dimension].float().cpu().numpy()
                return found
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0]
        # Out here the error is gone, and its traceback with every activation: the except block would keep them alive.
        self.memory_errors += 1
        logger.info("Out of memory with %d texts of up to %d tokens: %s", len(rows), texts.lengths[rows].max(), reason)
        release_memory(self.device)
        return None

    def _normalised(self, rows: NDArray[np.intp], raw: NDArray[np.float32]) -> EncodedPack:
        norms = np.linalg.norm(raw, axis=1, keepdims=True)
        usable = np.isfinite(norms[:, 0]) & (norms[:, 0] > 0)
        if usable.all():
            return EncodedPack(rows, raw / norms, {})
        self._require_working_device()
        failed = {int(row): f"the model gives no finite vector in {self.dtype}" for row in rows[~usable]}
        return EncodedPack(rows[usable], raw[usable] / norms[usable], failed)

    def _blame(self, rows: NDArray[np.intp], reason: str) -> EncodedPack:
        self._require_working_device()
        none = np.empty((0, self.model.dimension), dtype=np.float32)
        return EncodedPack(rows[:0], none, {int(row): reason for row in rows})

    def _require_working_device(self) -> None:
        """Raise unless a few words can be embedded: only then is it the text that is at fault."""
        raw = self._forward(self._tokenizer.tokenize(PROBE_TEXTS[:1]), np.zeros(1, dtype=np.intp))
        if raw is None:
            raise DeviceFailed(
                f"{self.device} ({self.device_name}) has no memory left even for {PROBE_TEXTS[0]!r}. "
                "Stop what else uses it (`nvidia-smi`, `free`), then run this again: finished rows are kept."
            )
        if not np.isfinite(raw).all() or not raw.any():
            raise DeviceFailed(
                f"{self.model.name} in {self.dtype} on {self.device} gives no finite vector for {PROBE_TEXTS[0]!r}. "
                "Use --dtype fp32, or check the device with `steam-assets doctor`."
            )


def _batch(
    page: SourceTexts,
    rows: NDArray[np.intp],
    vectors: NDArray[np.float32],
    failed: Mapping[int, str | None],
    tokens: int = 0,
    truncated: int = 0,
) -> EncodedBatch:
    embeddings = Embeddings(
        ids=[page.ids[row] for row in rows],
        row_versions=[page.row_versions[row] for row in rows],
        source_md5=[page.source_md5[row] for row in rows],
        vectors=vectors,
    )
    unembeddable = tuple(UnembeddableRow(page.ids[row], page.source_md5[row], why) for row, why in failed.items())
    return EncodedBatch(embeddings, unembeddable, tokens, truncated)


def load_encoder(model: Model, device: str = "auto", dtype: str = "auto", batch_tokens: int | None = None) -> Encoder:
    """The encoder with these settings, loaded once per process; raises SteamAssetsError when it cannot be had."""
    found = find_device(device)
    with _LOADING:
        return _load(model, found, find_dtype(dtype, found), batch_tokens)


_LOADING = threading.Lock()


@lru_cache(maxsize=2)
def _load(model: Model, device: str, dtype: str, batch_tokens: int | None) -> Encoder:
    return Encoder(model, device, dtype, batch_tokens)
