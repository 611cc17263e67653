"""How much arithmetic a batch is, and how much of it a GPU could do: what MFU is a share of. No torch."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steam_assets.encoder.models import Model

TERA = 1e12

# Dense, without sparsity, accumulating in fp32: NVIDIA's data sheets and architecture papers. fp16 is as fast as bf16.
PEAKS = {
    r"\bH200\b|\bH100\b(?!.*(PCIe|NVL))": {"bf16": 989.4, "tf32": 494.7, "fp32": 66.9},
    r"\bH100 PCIe\b": {"bf16": 756.0, "tf32": 378.0, "fp32": 51.2},
    r"\bH100 NVL\b": {"bf16": 835.0, "tf32": 417.5, "fp32": 60.0},
    r"\bA100\b": {"bf16": 312.0, "tf32": 156.0, "fp32": 19.5},
    r"\bL4\b": {"bf16": 121.0, "tf32": 60.0, "fp32": 30.3},
    r"\bA10\b": {"bf16": 125.0, "tf32": 62.5, "fp32": 31.2},
    r"\bRTX A4000\b": {"bf16": 76.7, "tf32": 38.3, "fp32": 19.2},
    r"\bRTX 4090\b(?!.*Laptop)": {"bf16": 165.2, "tf32": 82.6, "fp32": 82.6},
}
"""TFLOP/s by the name that CUDA gives the device."""


@dataclass(frozen=True)
class TransformerShape:
    """Layers, width and the width of the feed-forward part: what the work of a token depends on."""

    layers: int
    hidden: int
    feed_forward: int

    def flops(self, lengths: NDArray[np.int64]) -> float:
        """Of a forward over texts of these lengths, padding included where they include it.

        Four projections and two feed-forward matrices a token, and attention's two products a pair of tokens.
        """
        hidden = self.hidden
        a_token = 2 * self.layers * (4 * hidden**2 + 2 * hidden * self.feed_forward)
        return a_token * float(lengths.sum()) + 4 * self.layers * hidden * float((lengths.astype(float) ** 2).sum())

    def padded_flops(self, batches: Iterable[NDArray[np.int64]]) -> float:
        """Of batches that are padded to their longest text."""
        return sum(self.flops(np.full(len(lengths), lengths.max())) for lengths in batches)


MINILM = TransformerShape(layers=6, hidden=384, feed_forward=1536)
BGE_M3 = TransformerShape(layers=24, hidden=1024, feed_forward=4096)


def shape_of(model: Model) -> TransformerShape:
    """The shape of a model, from its configuration."""
    from transformers import AutoConfig

    from steam_assets.encoder.torch_backend import model_directory

    config = AutoConfig.from_pretrained(str(model_directory(model)), local_files_only=True)
    return TransformerShape(config.num_hidden_layers, config.hidden_size, config.intermediate_size)


def peak_flops(gpu: str, dtype: str) -> float | None:
    """What a GPU of this name could do in a second, dense; None where the table does not have it."""
    for name, peaks in PEAKS.items():
        if re.search(name, gpu):
            return peaks["bf16" if dtype == "fp16" else dtype] * TERA
    return None
