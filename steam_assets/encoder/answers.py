"""What a server of embeddings answers, checked before anything is believed: vectors, names, errors. No HTTP."""

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from steam_assets.encoder.backend import Vectors
from steam_assets.encoder.models import Model
from steam_assets.errors import SteamAssetsError

SHOWN_CHARACTERS = 200
TOO_MANY = re.compile(
    r"batch size \d|too many (?:inputs|texts|items)|at most \d+ (?:inputs|texts|items)|(?:array|list) (?:is )?too long",
    re.IGNORECASE,
)
"""text-embeddings-inference: "batch size 40 > maximum allowed batch size 32"; pydantic (Infinity): "List should have at
most 2048 items"; OpenAI: "array too long"."""


class WrongAnswer(SteamAssetsError):
    """An answer that is not the vectors of these texts by this model."""


@dataclass(frozen=True)
class Answer:
    """Vectors in the order of the texts, the model the server names, and the tokens it says it read."""

    vectors: Vectors
    model: str | None
    tokens: int | None


def read_embeddings(data: bytes, texts: int, dimension: int, place: str) -> Answer:
    """The vectors of so many texts, sorted by their index; what is null or NaN is NaN. Raises WrongAnswer."""
    found = _parsed(data)
    items = found.get("data") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(items, list):
        raise WrongAnswer(
            f'{place} answers {shortened(data.decode(errors="replace"))!r}; expected JSON with vectors in "data". '
            "Set STEAM_ASSETS_ENDPOINT to the base address of an OpenAI-compatible server, usually ending in /v1."
        )
    by_index = {item["index"]: item.get("embedding") for item in items if isinstance(item, dict) and _is_index(item)}
    if len(items) != texts or by_index.keys() != set(range(texts)):
        raise WrongAnswer(
            f"{place} gives {len(items)} vectors with the indexes {shortened(str(sorted(by_index)))} for {texts} "
            "texts; expected each index once. Look into the server's log."
        )
    vectors = np.empty((texts, dimension), dtype=np.float32)
    for index, value in by_index.items():
        vector = _vector(value)
        if vector is None:
            raise WrongAnswer(
                f"{place} gives {shortened(json.dumps(value))} as a vector; expected {dimension} numbers. Look into "
                "the server's log."
            )
        if len(vector) != dimension:
            raise WrongAnswer(
                f"{place} gives vectors of {len(vector)} numbers; the model gives {dimension}. Serve that model, or "
                "choose the one that is served."
            )
        vectors[index] = vector
    usage = found.get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    named = found.get("model")
    return Answer(vectors, named if isinstance(named, str) else None, tokens if isinstance(tokens, int) else None)


def read_models(data: bytes | None) -> dict[str, int | None]:
    """The names a server lists, each with the most tokens it reads where it says so; none where it lists none."""
    found = _parsed(data or b"")
    listed = found.get("data") if isinstance(found, dict) else None
    models = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return {entry["id"]: _whole(entry.get("max_model_len")) for entry in models if isinstance(entry.get("id"), str)}


def is_name_of(served: str, model: Model) -> bool:
    """Whether a server may mean ``model``: BAAI/bge-m3 is itself, bge-m3, a directory .../bge-m3, or one of its commit.

    acme/bge-m3 is another organisation's, perhaps with other weights.
    """
    name = model.name.casefold()
    parts = [part for part in re.split(r"[/\\]", served.casefold()) if part]
    is_hub_id = len(parts) == 2 and not served.startswith(("/", ".", "~"))
    if not parts or model.revision in parts:
        return bool(parts)
    return "/".join(parts) == name or (not is_hub_id and parts[-1] == name.rpartition("/")[2])


def texts_allowed(refusal: str, texts: int) -> int | None:
    """How many texts a request may have, when a refusal is about their number: the one it names, else half."""
    if texts < 2 or not TOO_MANY.search(refusal):
        return None
    named = [number for number in map(int, re.findall(r"\b\d{1,6}\b", refusal.partition(":")[2])) if 0 < number < texts]
    return max(named, default=texts // 2)


def error_message(data: bytes) -> str:
    """What a server says is wrong, on one short line: in OpenAI's form, TEI's, FastAPI's, or as text."""
    found = _parsed(data)
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and found.get(key):
            found = found[key]
    if isinstance(found, list):  # FastAPI: each with the input that it is about, which may be long and is not shown
        found = "; ".join(str(entry.get("msg")) for entry in found if isinstance(entry, dict))
    return shortened(found if isinstance(found, str) else data.decode(errors="replace")) or "no reason given"


def shortened(text: str) -> str:
    """The first 200 characters on one line, without what a terminal would obey."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text[: 4 * SHOWN_CHARACTERS]).split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]}..."


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _is_index(item: dict[str, Any]) -> bool:
    return isinstance(item.get("index"), int) and not isinstance(item["index"], bool)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _vector(value: object) -> Vectors | None:
    """Base64 of little-endian float32, or a list of numbers; null is the NaN of a server that writes strict JSON."""
    if isinstance(value, str):
        try:
            return np.frombuffer(base64.b64decode(value, validate=True), dtype="<f4").astype(np.float32)
        except (binascii.Error, ValueError):
            return None
    if not isinstance(value, list) or not set(map(type, value)) <= {float, int, type(None)}:
        return None
    try:
        with np.errstate(over="ignore"):  # beyond float32: infinity, which the encoder quarantines
            return np.array(value, dtype=np.float64).astype(np.float32)
    except OverflowError:
        return None
