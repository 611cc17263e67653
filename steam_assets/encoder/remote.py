"""A model behind an OpenAI-compatible endpoint: text-embeddings-inference, vLLM, Infinity. HTTP is endpoint.py.

The model keeps its identity: an endpoint is a way to run it, as a device is. Tokenizing, packing and truncation happen
here; the server gets texts with their prompt, as long as the model reads.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from steam_assets.encoder.address import KEY, EndpointUnavailable
from steam_assets.encoder.answers import Answer, is_name_of, read_embeddings, read_models, shortened, texts_allowed
from steam_assets.encoder.backend import CannotEmbed, Pack, Vectors
from steam_assets.encoder.batching import UNPADDED
from steam_assets.encoder.endpoint import TRIES, Endpoint, Overwhelmed, RequestRefused
from steam_assets.encoder.models import Model, UnknownModel
from steam_assets.encoder.tokens import TextTokenizer
from steam_assets.encoder.truncation import Truncation
from steam_assets.settings import setting

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

PROBES = ("a farm", "Build, explore and survive with friends.")
TRIES_AT_LOAD = 3
"""Some seconds: a server that is not there should be told before a run begins."""
WAKE_EVERY_S = 0.2
"""An interrupt that another thread receives wakes no lock."""
LISTING_BYTES = 8 << 20
LEAST_READ = 0.98
"""Of the tokens sent: a server that counted the probes as we do and reads less than this has cut the texts."""


class RemoteBackend:
    """A served model, checked with two probes; requests are under way side by side, in threads that hold up no exit."""

    name = "remote"
    dtype = "remote"
    packing = UNPADDED
    in_flight = 4
    batch_tokens = 16_384

    def __init__(self, model: Model, endpoint: Endpoint, truncation: Truncation) -> None:
        self.device = endpoint.place
        self._model = model
        self._endpoint = endpoint
        self._truncation = truncation
        self._most_texts: int | None = None
        self._asked_for = self._find_name()
        self._encoding, probe = self._probe_encodings()
        self.device_name = self._check_name(probe.model)
        self._answers_with = probe.model
        self._counts_tokens = self._compare_counts(probe.tokens)

    def start(self, pack: Pack) -> Callable[[], Vectors]:
        """Send a pack, in as many requests as the server wants; the function returned waits for the answers."""
        future: Future[Vectors] = Future()

        def work() -> None:
            try:
                future.set_result(self._embed(*self._cut(pack)))
            except BaseException as error:  # noqa: BLE001  # whoever waits raises it
                future.set_exception(error)

        # Not a pool: its threads are waited for when the interpreter exits, and these may wait for a server.
        threading.Thread(target=work, name="steam-assets-endpoint", daemon=True).start()

        def result() -> Vectors:
            while not future.done():
                wait([future], timeout=WAKE_EVERY_S)
            return future.result()

        return result

    def release_memory(self) -> None:
        """Nothing is held here."""

    def peak_memory_bytes(self) -> int | None:
        """Only the server knows."""
        return None

    def reset_peak_memory(self) -> None:
        """Nothing is measured here."""

    def _cut(self, pack: Pack) -> tuple[list[str], NDArray[np.int64]]:
        """Texts as long as the model reads, and the tokens of each."""
        texts, lengths = list(pack.texts), pack.lengths.copy()
        for row in np.flatnonzero(lengths >= self._model.max_seq_length):
            texts[row], lengths[row] = self._truncation.cut(texts[row])
        return texts, lengths

    def _embed(self, texts: Sequence[str], lengths: NDArray[np.int64]) -> Vectors:
        found: list[Vectors] = []
        start = 0
        while start < len(texts):
            stop = min(len(texts), start + (self._most_texts or len(texts)))
            part = texts[start:stop]
            try:
                answer = self._request(part, divisible=len(part) > 1)
            except RequestRefused as refused:
                allowed = texts_allowed(str(refused), len(part))
                if allowed is None:
                    raise CannotEmbed(f"{self.device} refuses it, {refused}") from None
                # Said once and remembered: no later pack is refused for it.
                self._most_texts = min(allowed, self._most_texts or allowed)
                logger.info("%s takes at most %d texts a request.", self.device, self._most_texts)
                continue
            except Overwhelmed as error:
                self._probe(self._encoding, TRIES)  # raises unless it is these texts at which the server fails
                raise CannotEmbed(f"{self.device} fails at it, {error.reason}") from None
            self._check(answer, int(lengths[start:stop].sum()))
            found.append(answer.vectors)
            start = stop
        return np.concatenate(found)

    def _request(
        self, texts: Sequence[str], encoding: str | None = None, tries: int = TRIES, divisible: bool = False
    ) -> Answer:
        body = {"model": self._asked_for, "input": list(texts), "encoding_format": encoding or self._encoding}
        # A number takes at most 25 characters as JSON, and some servers indent.
        most_bytes = (1 << 20) + len(texts) * self._model.dimension * 40
        data = self._endpoint.post("/embeddings", body, most_bytes, tries, divisible)
        return read_embeddings(data, len(texts), self._model.dimension, self.device)

    def _check(self, answer: Answer, sent: int) -> None:
        """Raise when another model answers than at the probe, or when the server has cut the texts."""
        if answer.model != self._answers_with:
            raise EndpointUnavailable(
                f"{self.device} now answers as {answer.model!r}; at first it was {self._answers_with!r}. Serve one "
                "model there, then run this again: finished rows are kept."
            )
        if self._counts_tokens and answer.tokens is not None and answer.tokens < LEAST_READ * sent:
            raise EndpointUnavailable(
                f"{self.device} has read {answer.tokens:,} of {sent:,} tokens: it cuts texts shorter than "
                f"{self._model.name} does, at {self._model.max_seq_length:,}. Raise the server's limit "
                "(--max-model-len, --max-batch-tokens), then run this again: finished rows are kept."
            )

    def _find_name(self) -> str:
        """The name to ask for: what the address says behind #, else the model's in the server's list."""
        stated = self._endpoint.served_name
        names = read_models(self._endpoint.get("/models", LISTING_BYTES, TRIES_AT_LOAD))
        found = stated or next((name for name in names if is_name_of(name, self._model)), None)
        if names and found is None:
            raise self._wrong_model(f"lists {', '.join(map(repr, list(names)[:5]))}")
        limit = names.get(found) if found else None
        if limit is not None and limit < self._model.max_seq_length:
            raise EndpointUnavailable(
                f"{self.device} reads at most {limit:,} tokens; {self._model.name} reads "
                f"{self._model.max_seq_length:,}. Start the server with --max-model-len {self._model.max_seq_length}."
            )
        return found or self._model.name

    def _probe_encodings(self) -> tuple[str, Answer]:
        """The encoding the server takes, and its answer to the probes: base64 is a quarter to a third of the bytes."""
        try:
            return "base64", self._request(PROBES, "base64", TRIES_AT_LOAD)
        except RequestRefused:
            pass
        return "float", self._probe("float", TRIES_AT_LOAD)

    def _probe(self, encoding: str, tries: int) -> Answer:
        """The answer to a few words; raises EndpointUnavailable when not even they are embedded."""
        try:
            return self._request(PROBES, encoding, tries)
        except RequestRefused as refused:
            raise EndpointUnavailable(
                f"{self.device} refuses even {PROBES[0]!r}, {refused}. Expected vectors of {self._asked_for}. Look "
                "into the server's log."
            ) from None

    def _check_name(self, named: str | None) -> str:
        """What the server calls the model; text-embeddings-inference has no list, and says here what it serves."""
        if named is None:
            logger.warning("%s does not say which model answers; asked for %s.", self.device, self._asked_for)
            return self._asked_for
        if named != self._endpoint.served_name and not is_name_of(named, self._model):
            raise self._wrong_model(f"answers as {shortened(named)!r}")
        return named

    def _wrong_model(self, found: str) -> EndpointUnavailable:
        return EndpointUnavailable(
            f"{self.device} {shortened(found)}; expected {self._model.name}. Serve that model, choose the served one "
            "with --model, or, if it is the same under another name, write that name behind the address: "
            "STEAM_ASSETS_ENDPOINT=http://host/v1#name."
        )

    def _compare_counts(self, tokens: int | None) -> bool:
        """Whether the server counts the probes' tokens as we do; Infinity may count characters, others nothing."""
        expected = sum(self._truncation.cut(probe)[1] for probe in PROBES)
        if tokens and tokens not in (expected, sum(map(len, PROBES))):
            logger.warning(
                "%s counts %d tokens where %s has %d: another tokenizer, or it adds a prompt of its own. "
                "If so its vectors are wrong: start it without --default-prompt.",
                *(self.device, tokens, self._model.name, expected),
            )
        return tokens == expected


def load_remote(model: Model, endpoint: str) -> tuple[TextTokenizer, RemoteBackend]:
    """The model's tokenizer, and the model as the server at this address runs it; no weights are read here.

    Raises EndpointUnavailable, within seconds also where nothing answers.
    """
    tokenizer = load_tokenizer(model)
    backend = RemoteBackend(model, Endpoint(endpoint, setting(KEY)), Truncation(tokenizer, model))
    return TextTokenizer(tokenizer, model), backend


def load_tokenizer(model: Model) -> "PreTrainedTokenizerBase":
    """The model's fast tokenizer, without its weights; raises UnknownModel."""
    from transformers import AutoTokenizer, PreTrainedTokenizerBase

    directory = tokenizer_directory(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = shortened(str(error).replace(str(directory), model.name))
        raise UnknownModel(
            f"The tokenizer of {model.name} cannot be loaded: {reason}. Expected a tokenizer.json. Save or download "
            "the model again."
        ) from error
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    return tokenizer


def tokenizer_directory(model: Model) -> Path:
    """Where tokenizer.json is: beside the model's files, or in the folder of its transformer."""
    if model.is_local:
        directory = Path(model.location)
    else:
        from steam_assets.encoder.hub import fetch_tokenizer

        directory = fetch_tokenizer(model)
    folders = [directory, *sorted(directory.glob("*Transformer"))]
    return next((folder for folder in folders if (folder / "tokenizer.json").exists()), directory)
