"""What loads a model to encode queries with, as quickly as this machine can: short texts, one or a few at a time."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

from steam_assets.encoder.device import find_device
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.loading import EncoderSettings, load_encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.threads import use_few_threads
from steam_assets.errors import SteamAssetsError

logger = logging.getLogger(__name__)


def query_loader(settings: EncoderSettings, has_backend: bool) -> Callable[[Model], Encoder]:
    """``load_encoder`` for searches, with these settings; ``has_backend`` says that a person chose theirs."""
    if has_backend or settings.endpoint is not None or settings.compiled or not find_spec("openvino"):
        return with_few_threads(partial(load_encoder, settings=settings))
    return with_few_threads(partial(_load_quickest, settings))


def with_few_threads(load: Callable[[Model], Encoder]) -> Callable[[Model], Encoder]:
    """``load``, with which torch uses as few threads as the queries of every model that was loaded so far need."""
    threads = 1

    def load_and_settle(model: Model) -> Encoder:
        nonlocal threads
        encoder = load(model)
        threads = use_few_threads(encoder, threads)
        return encoder

    return load_and_settle


def _load_quickest(settings: EncoderSettings, model: Model) -> Encoder:
    """Through OpenVINO on a CPU: a query of MiniLM takes 4.5 ms there, and 14.4 through torch (2026-11, two cores).

    Loading takes 3 s longer, and makes sure that the vectors are the same.
    """
    if find_device(settings.device) == "cpu":
        try:
            encoder = load_encoder(model, replace(settings, backend="openvino"))
        except SteamAssetsError as error:
            logger.warning("Queries are encoded through torch, which is slower on a CPU: %s", error)
        else:
            logger.info("Queries of %s are encoded through OpenVINO.", model.name)
            return encoder
    return load_encoder(model, settings)
