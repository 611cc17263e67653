"""Loading a model's modules and its tokenizer, quietly and without running code that comes with it."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steam_assets.encoder.device import DeviceUnavailable, torch_dtype
from steam_assets.encoder.memory import is_out_of_memory
from steam_assets.encoder.models import Model, UnknownModel

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Encoding

PROBE_TEXTS = ("a farm", "Build, explore and survive with friends.")


def load_modules(model: Model, device: str, dtype: str) -> "SentenceTransformer":
    """The model on the device, ready to run; raises UnknownModel when its files do not make a model."""
    if model.is_local:
        directory = Path(model.location)
    else:
        from steam_assets.encoder.hub import fetch

        directory = fetch(model)
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer

    with _quiet():
        try:
            # From a directory, so that neither weights of a pull request nor code of another repository are looked up.
            modules = SentenceTransformer(
                str(directory),
                device=device,
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={
                    "dtype": torch_dtype(dtype),
                    "use_safetensors": None if model.is_local or model.pickle_sha256 else True,
                },
            )
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError, UnpicklingError) as error:
            reason = str(error).partition("\n")[0].replace(str(directory), model.name)
            if is_out_of_memory(error):
                raise DeviceUnavailable(
                    f"{device} has no memory for {model.name} in {dtype}: {reason}. Stop what else uses it "
                    "(`nvidia-smi`, `free`), or choose a smaller model or another device."
                ) from error
            raise UnknownModel(
                f"{model.name} cannot be loaded: {reason}. Expected what "
                "SentenceTransformer(...).save_pretrained(directory) writes. Save or download it again."
            ) from error
        modules.max_seq_length = model.max_seq_length
    return modules.eval()


@dataclass(frozen=True)
class TokenizedTexts:
    """Texts as the model reads them; ``lengths`` count tokens after truncation, ``counts`` before it."""

    encodings: "Sequence[Encoding]"
    lengths: NDArray[np.int64]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.encodings)


class TextTokenizer:
    """The model's own tokenizer, given thousands of texts in one call; its features equal sentence-transformers'."""

    def __init__(self, modules: "SentenceTransformer", model: Model) -> None:
        from tokenizers import Tokenizer

        slow_or_fast = modules.tokenizer
        if not getattr(slow_or_fast, "is_fast", False):
            raise UnknownModel(f"{model.name} has no fast tokenizer; expected a tokenizer.json. Choose another model.")
        # A copy of our own: transformers sets padding and truncation on its one at every call, from whatever thread.
        self._backend = Tokenizer.from_str(slow_or_fast.backend_tokenizer.to_str())
        self._backend.no_padding()
        self._backend.enable_truncation(model.max_seq_length, direction=slow_or_fast.truncation_side)
        self._specials = self._backend.num_special_tokens_to_add(is_pair=False)
        self._prompt = model.prompt
        self._pads_left = slow_or_fast.padding_side == "left"
        self._pad_id = slow_or_fast.pad_token_id
        self._type_pad_id = (
            slow_or_fast.pad_token_type_id if "token_type_ids" in slow_or_fast.model_input_names else None
        )
        self._check(modules, model)

    def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
        """One call for all texts, in Rust threads; the GIL is free meanwhile."""
        encodings = self._backend.encode_batch_fast([self._prompt + text for text in texts])
        lengths = np.array([len(encoding) for encoding in encodings], dtype=np.int64)
        cut = [sum(len(part) - self._specials for part in encoding.overflowing) for encoding in encodings]
        return TokenizedTexts(encodings, lengths, lengths + np.array(cut, dtype=np.int64))

    def features(self, texts: TokenizedTexts, rows: NDArray[np.intp]) -> dict[str, Any]:
        """The model's input for these rows, padded to the longest: int64 matrices (rows, tokens) as torch tensors."""
        import torch

        width = int(texts.lengths[rows].max())
        names = {"input_ids": self._pad_id, "attention_mask": 0}
        if self._type_pad_id is not None:
            names["token_type_ids"] = self._type_pad_id
        matrices = {name: np.full((len(rows), width), pad, dtype=np.int64) for name, pad in names.items()}
        for line, row in enumerate(rows):
            encoding = texts.encodings[row]
            tokens = slice(width - len(encoding), None) if self._pads_left else slice(len(encoding))
            matrices["input_ids"][line, tokens] = encoding.ids
            matrices["attention_mask"][line, tokens] = 1
            if self._type_pad_id is not None:
                matrices["token_type_ids"][line, tokens] = encoding.type_ids
        return {name: torch.from_numpy(matrix) for name, matrix in matrices.items()} | self._constants

    def _check(self, modules: "SentenceTransformer", model: Model) -> None:
        """Raise unless ``features`` gives what sentence-transformers would feed the model for two probe texts."""
        import torch

        theirs = modules.preprocess(list(PROBE_TEXTS), prompt=self._prompt or None)
        self._constants = {name: value for name, value in theirs.items() if not isinstance(value, torch.Tensor)}
        ours = self.features(self.tokenize(PROBE_TEXTS), np.arange(len(PROBE_TEXTS)))
        if ours.keys() != theirs.keys() or not all(
            torch.equal(ours[name], value) for name, value in theirs.items() if isinstance(value, torch.Tensor)
        ):
            raise UnknownModel(
                f"{model.name} reads more than plain text: sentence-transformers gives it {sorted(theirs)}, and its "
                "tokenizer alone gives something else. Choose a model without a chat template."
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, and no log lines that name the directory."""
    from transformers.utils import logging as transformers_logging

    ours = logging.getLogger("sentence_transformers")
    level, verbosity = ours.level, transformers_logging.get_verbosity()
    ours.setLevel(logging.ERROR)
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        ours.setLevel(level)
        transformers_logging.set_verbosity(verbosity)
