"""The encoder with these settings, loaded once per process: the one place that chooses between backends."""

import threading
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

from steam_assets.encoder.backend import Backend
from steam_assets.encoder.device import find_device, find_dtype
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.tokens import TextTokenizer
from steam_assets.errors import SteamAssetsError
from steam_assets.settings import flag_setting, integer_setting, setting

BACKENDS = ("torch", "openvino")


@dataclass(frozen=True)
class EncoderSettings:
    """How and where a model runs; none of it changes what a vector means.

    ``endpoint`` is the address of an OpenAI-compatible server with the model; device and dtype are its own then.
    ``padded`` has torch pad texts to the longest of their pack though it could do without.
    """

    device: str = "auto"
    dtype: str = "auto"
    batch_tokens: int | None = None
    backend: str = "torch"
    compiled: bool = False
    endpoint: str | None = None
    padded: bool = False

    @classmethod
    def from_environment(
        cls,
        device: str | None = None,
        dtype: str | None = None,
        batch_tokens: int | None = None,
        backend: str | None = None,
        compiled: bool | None = None,
        endpoint: str | None = None,
    ) -> Self:
        """What is given, else what the environment says, else the defaults."""
        return cls(
            device=device or setting("STEAM_ASSETS_DEVICE") or "auto",
            dtype=dtype or setting("STEAM_ASSETS_DTYPE") or "auto",
            batch_tokens=batch_tokens or integer_setting("STEAM_ASSETS_BATCH_TOKENS"),
            backend=backend or setting("STEAM_ASSETS_BACKEND") or "torch",
            compiled=flag_setting("STEAM_ASSETS_COMPILE") if compiled is None else compiled,
            endpoint=endpoint or setting("STEAM_ASSETS_ENDPOINT"),
        )


def load_encoder(model: Model, settings: EncoderSettings = EncoderSettings()) -> Encoder:
    """The encoder with these settings, the same one each time; raises SteamAssetsError when it cannot be had.

    "auto" is the same encoder as the device it comes to.
    """
    with _LOADING:
        if settings.backend == "torch" and settings.endpoint is None:
            settings = replace(settings, device=find_device(settings.device))
        return _loaded(model, settings)


_LOADING = threading.Lock()


@lru_cache(maxsize=2)
def _loaded(model: Model, settings: EncoderSettings) -> Encoder:
    return build_encoder(model, settings)


def build_encoder(model: Model, settings: EncoderSettings = EncoderSettings()) -> Encoder:
    """A new encoder: its model is loaded, and its budget knows of no failure."""
    tokenizer, backend = _load(model, settings)
    return Encoder(model, tokenizer, backend, settings.batch_tokens)


def _load(model: Model, settings: EncoderSettings) -> tuple[TextTokenizer, Backend]:
    if settings.endpoint is not None:
        from steam_assets.encoder.remote import load_remote

        return load_remote(model, settings.endpoint)
    if settings.backend == "openvino":
        from steam_assets.encoder.openvino_backend import load_openvino

        return load_openvino(model, settings.device, settings.dtype)
    if settings.backend != "torch":
        raise SteamAssetsError(
            f"{settings.backend!r} is no backend; expected {' or '.join(BACKENDS)}. "
            "Correct STEAM_ASSETS_BACKEND or --backend."
        )
    from steam_assets.encoder.torch_backend import load_torch

    device = find_device(settings.device)
    return load_torch(model, device, find_dtype(settings.dtype, device), settings.compiled, settings.padded)
