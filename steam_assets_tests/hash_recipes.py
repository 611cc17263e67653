"""Models without weights: a recipe each, and vectors by hash that differ from one to the other. No torch."""

import json
from collections.abc import Sequence
from pathlib import Path

from steam_assets.defs.resources import GpuResource
from steam_assets.encoder.backend import Vectors
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets_tests.hash_encoder import HashBackend, OneToken
from steam_assets_tests.rows import DIMENSION

PACK_TEXTS = 2
POISON = "poison"
"""A model gives no number for a text with this word in it."""
MODELS = ("first", "second")


def make_model(directory: Path) -> None:
    """A model as far as its recipe goes: found by its directory's name from the directory around it."""
    modules = {"": "sentence_transformers.models.Transformer", "1_Pooling": "sentence_transformers.models.Pooling"}
    files = {
        "modules.json": [{"path": path, "type": kind} for path, kind in modules.items()],
        "config.json": {"model_type": "bert", "max_position_embeddings": 512},
        "sentence_bert_config.json": {"max_seq_length": 256},
        "1_Pooling/config.json": {"word_embedding_dimension": DIMENSION, "pooling_mode_mean_tokens": True},
    }
    (directory / "1_Pooling").mkdir(parents=True)
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content))


class RecipeBackend(HashBackend):
    """Vectors by hash of the model's name and a text."""

    def __init__(self, model: Model) -> None:
        super().__init__(model.dimension, pack_texts=PACK_TEXTS)
        self._model = model.name

    def vectors_of(self, texts: Sequence[str]) -> Vectors:
        """A vector (texts, dimension) for each text, of no numbers for a poisonous one."""
        vectors = super().vectors_of([f"{self._model}: {text}" for text in texts])
        vectors[[POISON in text for text in texts]] = float("nan")
        return vectors


class RecipeGpu(GpuResource):
    """Hands out such an encoder for whatever model is asked for."""

    def encoder(self, model: Model) -> Encoder:
        """Without loading anything."""
        return Encoder(model, OneToken(), RecipeBackend(model))
