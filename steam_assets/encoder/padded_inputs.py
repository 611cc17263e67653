"""What a model reads of a padded pack, as sentence-transformers would feed it; for backends that run models here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from steam_assets.encoder.backend import Pack
from steam_assets.encoder.models import Model, UnknownModel
from steam_assets.encoder.tokens import TextTokenizer

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PROBE_TEXTS = ("a farm", "Build, explore and survive with friends.")


@dataclass(frozen=True)
class PaddedInputs:
    """How packs become a model's arrays; ``constants`` are what sentence-transformers tells the model besides."""

    pad_id: int
    left: bool
    token_types: bool
    constants: Mapping[str, object]

    def arrays(self, pack: Pack) -> dict[str, NDArray[np.int64]]:
        """int64 matrices (texts, longest) by the name the model gives them."""
        ids, mask = pack.padded(self.pad_id, self.left)
        found = {"input_ids": ids, "attention_mask": mask}
        return {**found, "token_type_ids": np.zeros_like(ids)} if self.token_types else found


def padded_inputs(modules: "SentenceTransformer", model: Model) -> PaddedInputs:
    """The inputs of a loaded model; raises UnknownModel unless ids, mask and zeros are what it reads of two probes."""
    import torch

    pad_id = modules.tokenizer.pad_token_id
    if not isinstance(pad_id, int):
        raise UnknownModel(
            f"{model.name} has a tokenizer without a padding token, which texts of different lengths need. Set "
            '"pad_token" in its tokenizer_config.json, or choose another model.'
        )
    theirs = modules.preprocess(list(PROBE_TEXTS), prompt=model.prompt or None)
    constants = {name: value for name, value in theirs.items() if not isinstance(value, torch.Tensor)}
    left = modules.tokenizer.padding_side == "left"
    found = PaddedInputs(pad_id, left, token_types="token_type_ids" in theirs, constants=constants)
    ours = found.arrays(probe(modules, model))
    if ours.keys() | constants.keys() != theirs.keys() or not all(
        np.array_equal(value, theirs[name].numpy()) for name, value in ours.items()
    ):
        raise UnknownModel(
            f"{model.name} reads more than plain text: sentence-transformers gives it {sorted(theirs)}, and its "
            "tokenizer alone gives something else. Choose a model without a chat template."
        )
    return found


def probe(modules: "SentenceTransformer", model: Model) -> Pack:
    """The probes' tokens, the prompt's included."""
    return TextTokenizer(modules.tokenizer, model).tokenize(PROBE_TEXTS).pack(np.arange(len(PROBE_TEXTS)))
