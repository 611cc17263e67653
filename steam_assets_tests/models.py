"""Models for the tests: the packaged MiniLM and a small random one of bge-m3's shape; a pytest plugin."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from steam_assets.encoder import torch_backend
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.loading import EncoderSettings, build_encoder, load_encoder
from steam_assets.encoder.models import DEMO_MODEL, Model, find_model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CPU = EncoderSettings(device="cpu")

WORDS = (
    "a the of and cozy farm game with friends dragon sword puzzle story world build craft survive explore space ship"
)
SCRIPTS = (
    "日本語のレビューです面白いゲーム",
    "отличная игра про космос и ферму",
    "العبة رائعة جدا",
    "최고의 게임입니다",
    "🎮🔥👍🏽",
)
SPECIAL: dict[str, Any] = {"special_tokens": ["<s>", "<pad>", "</s>", "<unk>"], "unk_token": "<unk>"}
NAMES = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"} | {
    "pad_token": "<pad>",
    "unk_token": "<unk>",
}


def train_tokenizer(texts: Iterable[str], tokens: int = 1000) -> "PreTrainedTokenizerFast":
    """A tokenizer of XLM-RoBERTa's kind, Unigram over NFKC, for texts of at most 8,192 tokens."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(texts, trainers.UnigramTrainer(vocab_size=tokens, show_progress=False, **SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=8192, **NAMES)  # type: ignore[no-untyped-call]


def build_bge_shaped_model(
    directory: Path,
    dimension: int = 1024,
    layers: int = 2,
    vocabulary: int = 1024,
    tokenizer: "PreTrainedTokenizerFast | None" = None,
) -> Path:
    """A random XLM-RoBERTa with bge-m3's dimension, pooling, normalisation and 8,192 tokens, but two layers; saved.

    bge-m3 itself has 24 layers and a ``vocabulary`` of 250,002; the tokenizer may know less than that.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import XLMRobertaConfig, XLMRobertaModel
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    fast = train_tokenizer([WORDS, *SCRIPTS] * 20) if tokenizer is None else tokenizer
    torch.manual_seed(0)
    transformer = XLMRobertaModel(
        XLMRobertaConfig(
            vocab_size=vocabulary,
            hidden_size=dimension,
            num_hidden_layers=layers,
            num_attention_heads=dimension // 64,
            intermediate_size=4 * dimension,
            max_position_embeddings=8194,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
        )
    )
    parts = directory / "transformer"
    transformer.save_pretrained(parts)
    fast.save_pretrained(parts)
    modules = [Transformer(str(parts)), Pooling(dimension, pooling_mode="cls"), Normalize()]
    saved = directory / "bge-shaped"
    SentenceTransformer(modules=modules, device="cpu").save(str(saved))
    return saved


@pytest.fixture(scope="session")
def minilm() -> Model:
    """The packaged all-MiniLM-L6-v2."""
    return find_model(DEMO_MODEL)


@pytest.fixture(scope="session")
def minilm_encoder(minilm: Model) -> Encoder:
    """The packaged model loaded on the CPU, shared; do not change its budget."""
    return load_encoder(minilm, CPU)


@pytest.fixture(scope="session")
def bge_shaped(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The random model of bge-m3's shape."""
    return find_model(str(build_bge_shaped_model(tmp_path_factory.mktemp("models"))))


@pytest.fixture(scope="session")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The same with 64 dimensions, for tests that run many forwards or very long texts."""
    return find_model(str(build_bge_shaped_model(tmp_path_factory.mktemp("models"), dimension=64)))


@pytest.fixture
def encoder(narrow: Model, monkeypatch: pytest.MonkeyPatch) -> Encoder:
    """A narrow encoder of the test's own, with a budget of 2,048 tokens, on a machine where 4,096 would suit."""
    monkeypatch.setattr(torch_backend, "CPU_BATCH_TOKENS", 4096)
    return build_encoder(narrow, replace(CPU, batch_tokens=2048))


def transformer_of(encoder: Encoder) -> Any:
    """The model that transformers loaded, below sentence-transformers."""
    return cast(Any, encoder.backend)._transformer
