"""What runs a model: the interface that torch, OpenVINO and a remote endpoint share, and the pack they are given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from steam_assets.encoder.batching import Packing
from steam_assets.errors import SteamAssetsError

Vectors = NDArray[np.float32]


class CannotEmbed(SteamAssetsError):
    """Texts that a model cannot embed, or a server refuses."""


@dataclass(frozen=True)
class Pack:
    """The texts of one forward, longest first: their token ids one after the other, and how many each text has.

    ``ids`` are int32 (tokens,), ``lengths`` int64 (texts,); ``texts`` are what was tokenized, prompt included, before
    truncation.
    """

    ids: NDArray[np.int32]
    lengths: NDArray[np.int64]
    texts: Sequence[str]

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each text begins in ``ids``, and at last where they end: int64 (texts + 1,)."""
        return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(self.lengths)])

    def padded(self, pad_id: int, left: bool = False) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids and attention mask as int64 matrices (texts, longest), padded behind the text or to its left."""
        places = np.arange(self.lengths.max())
        mask = places >= (len(places) - self.lengths)[:, None] if left else places < self.lengths[:, None]
        ids = np.full(mask.shape, pad_id, dtype=np.int64)
        ids[mask] = self.ids
        return ids, mask.astype(np.int64)


class Backend(Protocol):
    """A loaded model somewhere; ``start`` may return before the work is done, its result is waited for later.

    ``name`` is "torch", "openvino" or "remote". ``device`` is "cpu", "cuda:0" or an endpoint's address without
    credentials, ``device_name`` what that calls itself. ``dtype`` is "fp32", "bf16" or "fp16", and "remote" where only
    the server knows. ``packing`` says how texts are cut into packs, ``in_flight`` how many of these may be started
    before the first is waited for, ``batch_tokens`` the budget of a pack that suits this backend and its free memory.
    """

    @property
    def name(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def device_name(self) -> str: ...

    @property
    def dtype(self) -> str: ...

    @property
    def packing(self) -> Packing: ...

    @property
    def in_flight(self) -> int: ...

    @property
    def batch_tokens(self) -> int: ...

    def start(self, pack: Pack) -> Callable[[], Vectors]:
        """Begin a forward; the function returned waits for it and gives float32 (texts, dimension), in any length.

        Either may raise what ``memory.is_out_of_memory`` knows, CannotEmbed when these texts are refused, or an error
        that ends the run.
        """
        ...  # pyright knows a protocol's method by it

    def release_memory(self) -> None:
        """Give back memory that nothing refers to any more."""

    def peak_memory_bytes(self) -> int | None:
        """The most memory so far: allocated tensors on CUDA, the process's resident memory on the CPU."""

    def reset_peak_memory(self) -> None:
        """Start ``peak_memory_bytes`` again, where that is possible."""
