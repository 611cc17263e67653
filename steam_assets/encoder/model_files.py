"""A directory with a sentence-transformers model: what its configuration says, and the digest of its files."""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from steam_assets.encoder.models import Model, UnknownModel

CONFIG_FILES = ("*.json", "*.txt", "*.model")
"""Configuration and tokenizer, in the directory itself; the modules' own folders count with every file."""
WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin")
UNUSED_FILES = ("data_config.json", "README.md")
MODULES = ("Transformer", "Pooling", "Dense", "Normalize")
# Their position 0 is at padding_idx + 1: a table of 8,194 positions holds 8,192 tokens.
OFFSET_POSITIONS = ("camembert", "data2vec-text", "longformer", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl")
SENTENCE_CONFIGS = ("sentence_bert_config.json", "sentence_roberta_config.json", "sentence_xlm-roberta_config.json")


def read_model(directory: Path, name: str, revision: str, location: str) -> Model:
    """The model that ``directory`` configures; raises UnknownModel when only its own code could run it."""
    modules = _read_modules(directory, name)
    transformer = directory / modules["Transformer"]
    pooling = _read(directory / modules["Pooling"] / "config.json", name)
    options = _read(directory / "config_sentence_transformers.json", name, default={})
    modes = _pooling_modes(pooling)
    token_dimension = pooling.get("embedding_dimension", pooling.get("word_embedding_dimension"))
    dimension = len(modes) * int(token_dimension or 0)
    if "Dense" in modules:
        dimension = int(_read(directory / modules["Dense"] / "config.json", name).get("out_features", 0))
    dimension = min(dimension, int(options.get("truncate_dim") or dimension))
    if not dimension:
        raise UnknownModel(f"{name}: 1_Pooling/config.json names no pooling mode or dimension. Is the model complete?")
    return Model(
        name=name,
        revision=revision,
        location=location,
        dimension=dimension,
        max_seq_length=_max_seq_length(transformer, name),
        pooling="+".join(modes),
        prompt=(options.get("prompts") or {}).get(options.get("default_prompt_name")) or "",
    )


def directory_revision(directory: Path) -> str:
    """ "sha256:" and the digest over weights, configuration and tokenizer, by content and relative name."""
    folders = [directory / path for path in _read_modules(directory, directory.name).values() if path]
    files = {file for pattern in (*CONFIG_FILES, *WEIGHT_FILES) for file in directory.glob(pattern)}
    files |= {file for folder in folders for file in folder.rglob("*") if file.is_file()}
    digest = hashlib.sha256()
    for file in sorted(files):
        if file.name not in UNUSED_FILES:
            digest.update(f"{file.relative_to(directory).as_posix()}\0{file_sha256(file)}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def file_sha256(file: Path) -> str:
    """The digest of a file, read again only when its size or time has changed."""
    stat = file.stat()
    return _sha256(file, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _sha256(file: Path, size: int, mtime_ns: int) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _read_modules(directory: Path, name: str) -> dict[str, str]:
    """The folder of each module by its class, in order; a class that comes twice keeps the last folder."""
    listed = _read(directory / "modules.json", name)
    found: dict[str, str] = {}
    for module in listed if isinstance(listed, list) else []:
        kind = str(module.get("type"))
        if not kind.startswith("sentence_transformers.") or kind.rpartition(".")[2] not in MODULES:
            raise UnknownModel(
                f"{name} has a module {kind}; expected only {', '.join(MODULES)} of sentence-transformers: "
                "code that comes with a model is never run. Choose another model."
            )
        found[kind.rpartition(".")[2]] = str(module.get("path", ""))
    if not {"Transformer", "Pooling"} <= set(found):
        raise UnknownModel(f"{name}: modules.json names {list(found)}; expected a Transformer and a Pooling module.")
    return found


def _pooling_modes(pooling: dict[str, Any]) -> list[str]:
    modes = pooling.get("pooling_mode")
    if modes is not None:
        return [modes] if isinstance(modes, str) else list(modes)
    legacy = {
        "pooling_mode_cls_token": "cls",
        "pooling_mode_max_tokens": "max",
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
        "pooling_mode_weightedmean_tokens": "weightedmean",
        "pooling_mode_lasttoken": "lasttoken",
    }
    return [mode for key, mode in legacy.items() if pooling.get(key)]


def _max_seq_length(transformer: Path, name: str) -> int:
    config = _read(transformer / "config.json", name)
    sentence = next((file for file in SENTENCE_CONFIGS if (transformer / file).exists()), SENTENCE_CONFIGS[0])
    stated = _read(transformer / sentence, name, default={}).get("max_seq_length")
    if stated is None:
        stated = _read(transformer / "tokenizer_config.json", name, default={}).get("model_max_length")
    positions = config.get("max_position_embeddings")
    if positions is not None and config.get("model_type") in OFFSET_POSITIONS:
        positions -= int(config.get("pad_token_id") or 0) + 1
    known = [int(limit) for limit in (stated, positions) if limit is not None and 0 < limit < 1e9]
    if not known:
        raise UnknownModel(f"{name} states no max_seq_length; expected one in {SENTENCE_CONFIGS[0]}. Add it there.")
    return min(known)


def _read(file: Path, name: str, default: Any = None) -> Any:
    if default is not None and not file.exists():
        return default
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = "cannot be read" if file.exists() else "is missing"
        raise UnknownModel(
            f"{name} is not laid out as sentence-transformers saves a model: {file.name} {found}. "
            "Save it with SentenceTransformer(...).save_pretrained(directory), or choose another model."
        ) from None
