"""Whether 16 bit or another backend is faster on this CPU, measured: some have bf16 in hardware, others emulate it."""

import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from statistics import median

from steam_assets.doctor import Check
from steam_assets.encoder.device import find_device
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.loading import EncoderSettings, build_encoder
from steam_assets.encoder.models import DEMO_MODEL, find_model
from steam_assets.errors import SteamAssetsError
from steam_assets.sample import reviews

Variant = tuple[str, str]

PLAIN: Variant = ("torch", "fp32")
OPTIONS: Mapping[Variant, str] = {
    ("torch", "bf16"): "--dtype bf16",
    ("openvino", "fp32"): "--backend openvino",
    ("openvino", "bf16"): "--backend openvino --dtype bf16",
}
OPENVINO = "pip install 'steam-assets[openvino]'"

REVIEWS = 12
"""About 600 tokens: 0.1 s in fp32 on two cores, and some seconds where bf16 is emulated a hundred times slower."""
TIMED_S = 1.0
MOST_ROUNDS = 9
WORTH = 1.15
"""Below that it may be chance: a shared machine's own speed varies more."""


def check_16_bit(settings: EncoderSettings) -> Iterator[Check]:
    """How fast bf16 is beside fp32, with the packaged model; nothing for CUDA, where 16 bit is what `auto` means."""
    try:
        if settings.endpoint is not None or find_device(settings.device) != "cpu":
            return
        encoders = {PLAIN: _load(PLAIN)}
    except SteamAssetsError:  # told by the check of the model
        return
    for variant in OPTIONS:
        if find_spec(variant[0]):
            try:
                encoders[variant] = _load(variant)
            except SteamAssetsError:  # this CPU has no bf16, say
                continue
    yield describe(speeds(encoders))


def speeds(encoders: Mapping[Variant, Encoder]) -> dict[Variant, float]:
    """How many times as fast as fp32 through torch each is: medians of rounds in which all take their turn."""
    texts = [str(row["review_text"]) for row in reviews(REVIEWS) if row["review_text"]]
    for encoder in encoders.values():
        encoder.encode(texts)
    seconds: dict[Variant, list[float]] = {variant: [] for variant in encoders}
    started = time.monotonic()
    for _ in range(MOST_ROUNDS):
        for variant, encoder in encoders.items():
            before = time.perf_counter()
            encoder.encode(texts)
            seconds[variant].append(time.perf_counter() - before)
        if time.monotonic() - started > TIMED_S:
            break
    return {variant: median(seconds[PLAIN]) / median(taken) for variant, taken in seconds.items()}


def describe(speed: Mapping[Variant, float]) -> Check:
    """The check that says it; the fix is what would be faster, where something is."""
    told = [
        f"{dtype} through {backend} {speed[backend, dtype]:.1f}x"
        for backend, dtype in OPTIONS
        if (backend, dtype) in speed
    ]
    found = f"{', '.join(told)} the speed of fp32 through torch"
    best = max(speed, key=speed.__getitem__)
    advice = [OPENVINO + " adds a backend that is often faster"] if ("openvino", "fp32") not in speed else []
    if speed[best] < WORTH:
        found += "; fp32 through torch, the default, is right here"
    else:
        advice.insert(0, f"{OPTIONS[best]} is faster; its vectors are compared with fp32 before any is written")
    return Check("16 bit", "ok", found, "; ".join(advice))


def _load(variant: Variant) -> Encoder:
    backend, dtype = variant
    return build_encoder(find_model(DEMO_MODEL), EncoderSettings(device="cpu", dtype=dtype, backend=backend))
