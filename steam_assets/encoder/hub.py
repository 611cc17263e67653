"""Models of the Hugging Face hub, pinned to a commit, fetched without code. Directories are model_files.py."""

import logging
import re
from pathlib import Path

from steam_assets.encoder.model_files import CONFIG_FILES, file_sha256, read_model
from steam_assets.encoder.models import DEMO_MODEL, Model, UnknownModel

logger = logging.getLogger(__name__)

HUB_TIMEOUT_S = 10.0
PICKLED_WEIGHTS = "pytorch_model.bin"
COMMIT = re.compile("[0-9a-f]{40}")
# "*" crosses folders here: 1_Pooling/config.json is matched too.
CONFIG_PATTERNS = list(CONFIG_FILES)


def find_hub_model(name: str, revision: str | None = None) -> Model:
    """The model with this id, pinned to the commit that ``revision`` (by default the main branch) is now."""
    directory = _snapshot(name, revision, "modules.json")
    return read_model(directory, name, revision=directory.name, location=name)


def fetch(model: Model) -> Path:
    """The directory with the files of a hub model, from the cache or downloaded; raises UnknownModel."""
    weights = PICKLED_WEIGHTS if model.pickle_sha256 else "*.safetensors"
    directory = _snapshot(model.location, model.revision, weights)
    if not any(directory.glob(weights)):
        raise UnknownModel(
            f"{model.name} has no safetensors file at {model.revision[:12]}; pickles from the hub are not read. Choose "
            "another model or revision, or save it locally with SentenceTransformer(...).save_pretrained(directory)."
        )
    if model.pickle_sha256:
        found = file_sha256(directory / PICKLED_WEIGHTS)
        if found != model.pickle_sha256:
            raise UnknownModel(
                f"{PICKLED_WEIGHTS} of {model.name} has sha256 {found}; expected {model.pickle_sha256}. "
                "Delete it from the Hugging Face cache, so that it is downloaded again."
            )
    return directory


def fetch_tokenizer(model: Model) -> Path:
    """The directory with the configuration and tokenizer of a hub model, without weights; raises UnknownModel."""
    return _snapshot(model.location, model.revision, "tokenizer.json")


def _snapshot(name: str, revision: str | None, wanted: str) -> Path:
    """The repository's configuration and ``wanted`` files; the directory is named after the commit."""
    from huggingface_hub import errors

    unreachable = (errors.HTTPError, OSError, ValueError)  # type: ignore[attr-defined]  # of the HTTP library it uses

    # A commit never changes: what is cached needs no network.
    if revision is not None and COMMIT.fullmatch(revision):
        here = cached(name, revision, wanted)
        if here is not None:
            return here
    try:
        return _download(name, revision, wanted)
    except errors.RevisionNotFoundError:
        raise UnknownModel(
            f"{name} has no revision {revision!r} on the hub. Name a branch, a tag or a commit."
        ) from None
    except errors.RepositoryNotFoundError:
        raise UnknownModel(
            f"The hub has no model {name!r} that you may read. Correct the name; for a private or gated model "
            "run `hf auth login`."
        ) from None
    except unreachable as error:
        here = cached(name, revision, wanted)
        if here is None:
            raise UnknownModel(
                f"{name!r} is not in the Hugging Face cache, and the hub cannot be asked ({type(error).__name__}). "
                f"Expected a model that is there, a directory, or {DEMO_MODEL}, which is installed with this package. "
                "On a machine with a network run `hf download` for it, and copy the cache here (HF_HOME)."
            ) from None
        logger.info("The hub cannot be asked (%s): using the cached %s at %s.", type(error).__name__, name, here.name)
        return here


def cached(name: str, revision: str | None, wanted: str) -> Path | None:
    """The cached snapshot with the ``wanted`` files, or None; the network is not asked."""
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            name, revision=revision, allow_patterns=[*CONFIG_PATTERNS, wanted], local_files_only=True
        )
    except (OSError, ValueError):
        return None
    directory = Path(found)
    return directory if any(directory.glob(wanted)) else None


def _download(name: str, revision: str | None, wanted: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    # One request without a download's retries, so that an unreachable hub costs seconds.
    commit = HfApi().model_info(name, revision=revision, timeout=HUB_TIMEOUT_S).sha
    logger.info("Fetching %s at %s from the Hugging Face hub, unless it is cached.", name, commit)
    disable_progress_bars()
    return Path(snapshot_download(name, revision=commit, allow_patterns=[*CONFIG_PATTERNS, wanted]))
