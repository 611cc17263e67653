"""Attention without padding: texts lie one after the other, and each token sees its own text only.

Registered with transformers under PACKED, so that unmodified BERT and XLM-RoBERTa models use it. On CUDA it is torch's
own flash attention for sequences of any lengths; on the CPU one call for each stretch of equally long texts.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steam_assets.encoder.backend import Pack

if TYPE_CHECKING:
    import torch

PACKED = "steam_assets_packed"

FIRST_POSITION_IS_ZERO = ("bert",)
FIRST_POSITION_FOLLOWS_PADDING = ("roberta", "xlm-roberta")
"""Their first token is at padding_idx + 1; counted from 0, the vectors have a cosine of 0.7 to the right ones."""


def why_not_packed(model_type: str, pooling: str, device: str, dtype: str) -> str | None:
    """Why a model has to be run with padding here; None when it need not be."""
    if model_type not in FIRST_POSITION_IS_ZERO + FIRST_POSITION_FOLLOWS_PADDING:
        return f"a {model_type} model"
    if pooling not in ("cls", "mean"):
        return f"{pooling} pooling"
    if device == "cpu":
        return None
    if dtype == "fp32":
        return "fp32 on CUDA"  # flash attention is 16 bit
    import torch

    try:
        from torch.nn.attention.varlen import varlen_attn  # noqa: F401
    except ImportError:
        return f"torch {torch.__version__}, before 2.10"
    if torch.version.hip is not None or torch.cuda.get_device_capability(device) < (8, 0):
        return "a GPU before NVIDIA's Ampere"
    return None


def register() -> None:
    """Make PACKED known to transformers; for a name it does not know itself, it builds no attention mask."""
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED, packed_attention)


def packed_attention(
    module: object,
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: object,
    scaling: float | None = None,
    cu_seq_lens_q: "torch.Tensor | None" = None,
    max_length_q: int = 0,
    equal_lengths: tuple[tuple[int, int], ...] = (),
    **_: object,
) -> "tuple[torch.Tensor, None]":
    """Attention of (1, heads, tokens, size) tensors as transformers calls it; gives (1, tokens, heads, size)."""
    import torch

    if query.is_cuda:
        from torch.nn.attention.varlen import varlen_attn

        q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
        found = varlen_attn(q, k, v, cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q, scale=scaling)  # type: ignore[arg-type]
        assert isinstance(found, torch.Tensor)
        return found.unsqueeze(0), None
    heads, _tokens, size = query.shape[1:]
    output = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format)
    start = 0
    for texts, length in equal_lengths:
        stretch = slice(start, start := start + texts * length)
        # (1, heads, texts x length, size) to (texts, heads, length, size) and back.
        q, k, v = (
            tensor[0, :, stretch].view(heads, texts, length, size).transpose(0, 1) for tensor in (query, key, value)
        )
        found = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=scaling)
        output[0, stretch] = found.transpose(1, 2).reshape(texts * length, heads, size)
    return output, None


def equal_lengths(lengths: NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    """Stretches of equally long neighbours as (texts, length): [5, 5, 2] gives ((2, 5), (1, 2))."""
    ends = [*(np.flatnonzero(np.diff(lengths)) + 1), len(lengths)]
    return tuple((int(end - start), int(lengths[start])) for start, end in zip([0, *ends[:-1]], ends, strict=True))


def positions(pack: Pack, model_type: str, padding_id: int) -> NDArray[np.int64]:
    """The position of every token in its own text, int64 (tokens,), counted as the model's family counts."""
    starts = np.repeat(pack.starts[:-1], pack.lengths)
    if model_type in FIRST_POSITION_IS_ZERO:
        return np.arange(len(pack.ids)) - starts
    # A padding token that stands in the text itself stays at padding_idx and moves no other: XLM-RoBERTa counts so.
    counted = pack.ids != padding_id
    before = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counted)])
    return np.where(counted, before[1:] - before[starts] + padding_id, padding_id)


def packed_features(pack: Pack, model_type: str, padding_id: int) -> dict[str, Any]:
    """The model's input as numpy arrays and numbers: one row of all tokens, and where each text begins."""
    return {
        "input_ids": pack.ids[None].astype(np.int64),
        "position_ids": positions(pack, model_type, padding_id)[None],
        "token_type_ids": np.zeros((1, len(pack.ids)), dtype=np.int64),
        "cu_seq_lens_q": pack.starts.astype(np.int32),
        "max_length_q": int(pack.lengths.max()),
        "equal_lengths": equal_lengths(pack.lengths),
    }
