"""A model through OpenVINO: torch's vectors, no telemetry, nothing printed, and memory that stays bounded."""

import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steam_assets.encoder.backend import Pack, Vectors
from steam_assets.encoder.device import DeviceUnavailable
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.loading import EncoderSettings, build_encoder
from steam_assets.encoder.models import Model, UnknownModel, find_model
from steam_assets.encoder.openvino_backend import OpenVinoBackend, find_precision
from steam_assets.encoder.openvino_graph import import_openvino
from steam_assets.encoder.preparation import PREPARATIONS
from steam_assets.encoder.tokens import TextTokenizer
from steam_assets.encoder.torch_backend import load_modules
from steam_assets.errors import SteamAssetsError
from steam_assets_tests.vectors import MIXED, by_id, cosines, page, reference

# find_spec, for an importorskip would import it with its telemetry.
pytestmark = [
    pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed: it is an extra"),
    pytest.mark.slow,
]

OPENVINO = EncoderSettings(backend="openvino")
TEXTS = [*MIXED, "<pad> in <pad> the text <pad>", "friends " * 200, "a game " * 90]


@pytest.fixture(scope="module")
def minilm_openvino(minilm: Model) -> Encoder:
    """The packaged model through OpenVINO, shared."""
    return build_encoder(minilm, OPENVINO)


@pytest.fixture(scope="module")
def narrow_openvino(narrow: Model) -> Encoder:
    """A small XLM-RoBERTa with CLS pooling through OpenVINO, shared."""
    return build_encoder(narrow, OPENVINO)


def cpu_has(dtype: str) -> bool:
    """Whether OpenVINO computes in it here."""
    try:
        return find_precision("cpu", dtype) == dtype
    except DeviceUnavailable:
        return False


# --- The same vectors -------------------------------------------------------------------------------------------------


def test_minilm_gives_what_sentence_transformers_gives(minilm: Model, minilm_openvino: Encoder) -> None:
    """BERT with mean pooling: mixed lengths and scripts, empty texts and texts above the maximum."""
    vectors = minilm_openvino.encode(TEXTS)
    assert minilm_openvino.backend.dtype == "fp32"
    assert cosines(vectors, reference(minilm, TEXTS)).min() >= 0.99999
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6


def test_the_shape_of_bge_m3_gives_what_sentence_transformers_gives(bge_shaped: Model) -> None:
    """XLM-RoBERTa with CLS pooling and 1,024 numbers: positions start after the padding, and padding may be text."""
    assert cosines(build_encoder(bge_shaped, OPENVINO).encode(TEXTS), reference(bge_shaped, TEXTS)).min() >= 0.99999


def test_every_length_up_to_the_maximum_gives_the_same_vector(narrow: Model, narrow_openvino: Encoder) -> None:
    """From one token to 8,192, and a text beyond that; the conversion knows none of these lengths."""
    texts = ["", *("dragon " * n for n in (1, 2, 3, 31, 32, 33, 127, 500, 2048)), "dragon " * 9000 + "sword"]
    assert narrow_openvino.count_tokens(texts[-1:])[0] > 8192
    assert cosines(narrow_openvino.encode(texts), reference(narrow, texts)).min() >= 0.99999


def test_a_tokenizer_that_pads_on_the_left_gives_the_same_vectors(narrow: Model, tmp_path: Path) -> None:
    """The mean over the text's own tokens: with CLS pooling, sentence-transformers itself would look for the first."""
    directory = tmp_path / "left"
    shutil.copytree(narrow.location, directory)
    (config,) = directory.rglob("tokenizer_config.json")
    config.write_text(json.dumps({**json.loads(config.read_text()), "padding_side": "left"}))
    (pooling,) = directory.glob("*_Pooling/config.json")
    pooling.write_text(json.dumps({"embedding_dimension": 64, "pooling_mode": "mean"}))
    model = find_model(str(directory))
    encoder = build_encoder(model, OPENVINO)
    assert encoder.backend._inputs.left  # type: ignore[attr-defined]
    assert cosines(encoder.encode(TEXTS), reference(model, TEXTS)).min() >= 0.99999


def test_the_budget_does_not_change_the_vectors(minilm_openvino: Encoder) -> None:
    """Even one text at a time."""
    alone = Encoder(minilm_openvino.model, minilm_openvino._tokenizer, minilm_openvino.backend, batch_tokens=1)
    assert cosines(alone.encode(TEXTS), minilm_openvino.encode(TEXTS)).min() >= 0.99999
    assert alone.work.forwards == len(set(TEXTS))


def test_bf16_stays_close_to_fp32(minilm: Model, minilm_openvino: Encoder) -> None:
    """Mean cosine at least 0.9995, minimum at least 0.999, and it is bf16 that was computed in."""
    if not cpu_has("bf16"):
        pytest.skip("this CPU has no bf16")
    half = build_encoder(minilm, replace(OPENVINO, dtype="bf16"))
    found = cosines(half.encode(TEXTS), minilm_openvino.encode(TEXTS))
    assert half.backend.dtype == "bf16"
    assert found.mean() >= 0.9995
    assert 0.999 <= found.min() < 0.999999


def test_several_threads_get_the_vectors_of_their_own_texts(minilm_openvino: Encoder) -> None:
    """A search may run beside an embedding; memory is given back meanwhile."""
    expected = [minilm_openvino.encode(MIXED[n:]) for n in range(4)]
    found: dict[int, Vectors] = {}

    def encode(n: int) -> None:
        for _ in range(2):
            found[n] = minilm_openvino.encode(MIXED[n:])

    threads = [threading.Thread(target=encode, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        minilm_openvino.backend.release_memory()
    assert sorted(found) == [0, 1, 2, 3]
    assert all(cosines(found[n], expected[n]).min() >= 0.99999 for n in found)


# --- Where it cannot run ----------------------------------------------------------------------------------------------


def test_without_the_package_the_error_says_what_to_install(minilm: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything of the model is loaded."""
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(SteamAssetsError, match=r"pip install 'steam-assets\[openvino\]'"):
        build_encoder(minilm, OPENVINO)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (replace(OPENVINO, device="cuda"), "cuda was asked for, and the OpenVINO backend runs on the CPU"),
        (replace(OPENVINO, dtype="int8"), "'int8' is no precision"),
    ],
)
def test_other_devices_and_precisions_are_refused(minilm: Model, settings: EncoderSettings, words: str) -> None:
    """Nothing is replaced by something else in silence."""
    with pytest.raises(DeviceUnavailable, match=words):
        build_encoder(minilm, settings)


def test_a_precision_that_the_cpu_lacks_is_refused() -> None:
    """OpenVINO would compute in fp32 and call it bf16."""
    lacking = [dtype for dtype in ("bf16", "fp16") if not cpu_has(dtype)]
    if not lacking:
        pytest.skip("this CPU has bf16 and fp16")
    with pytest.raises(DeviceUnavailable, match=rf"{lacking[0]} was asked for, and OpenVINO has fp32"):
        find_precision("auto", lacking[0])


def modules_with(model: Model, last: Any) -> Any:
    """The model with one more module behind its own."""
    modules = load_modules(model, "cpu", "fp32")
    modules.append(last)
    return modules


def test_a_model_that_cannot_be_converted_is_named(narrow: Model) -> None:
    """With the operation that OpenVINO does not know; the root logger is as it was."""
    import logging

    import torch

    class Unknown(torch.nn.Module):
        def forward(self, features: dict[str, Any]) -> dict[str, Any]:
            vectors = features["sentence_embedding"]
            return {**features, "sentence_embedding": torch.special.bessel_j0(vectors)}

    root = logging.getLogger()
    before = (root.level, list(root.filters), list(root.handlers))
    with pytest.raises(UnknownModel, match=r"OpenVINO cannot convert bge-shaped: .*bessel_j0.*--backend torch"):
        OpenVinoBackend(narrow, modules_with(narrow, Unknown()), "fp32")
    assert (root.level, list(root.filters), list(root.handlers)) == before


def test_a_model_whose_conversion_is_wrong_is_refused(narrow: Model) -> None:
    """Tracing makes constants of numbers that a module takes out of tensors; texts of other lengths find it out."""
    import torch

    class RolledByLength(torch.nn.Module):
        def forward(self, features: dict[str, Any]) -> dict[str, Any]:
            length = int(features["attention_mask"].shape[1])
            return {**features, "sentence_embedding": torch.roll(features["sentence_embedding"], length % 61, dims=1)}

    with pytest.raises(UnknownModel, match=r"bge-shaped gives other vectors through OpenVINO .* a cosine of -?0\."):
        OpenVinoBackend(narrow, modules_with(narrow, RolledByLength()), "fp32")


def test_a_text_without_a_finite_vector_is_named_alone(narrow: Model) -> None:
    """The weights of one token are not numbers: its text is quarantined, and its neighbours keep their vectors."""
    import torch

    modules: Any = load_modules(narrow, "cpu", "fp32")
    tokenizer = TextTokenizer(modules.tokenizer, narrow)
    bad = int(tokenizer.tokenize(["космос"]).ids[-2])
    with torch.no_grad():
        modules[0].model.embeddings.word_embeddings.weight[bad] = float("nan")
    encoder = Encoder(narrow, tokenizer, OpenVinoBackend(narrow, modules, "fp32"))
    batches = list(encoder.embed(encoder.windows([page(["farm", "космос", "friends"])], PREPARATIONS["plain"])))
    assert [(row.id, row.reason) for batch in batches for row in batch.unembeddable] == [
        (1, "the model gives no finite vector in fp32")
    ]
    assert sorted(by_id(batches)) == [0, 2]


# --- Memory, and silence ----------------------------------------------------------------------------------------------


def test_memory_stays_bounded_over_many_shapes(narrow_openvino: Encoder) -> None:
    """From the 600th to the 1,800th shape it took 120 MB more, and 300 MB with the cache that OpenVINO has itself."""
    import psutil

    random = np.random.default_rng(0)
    memory = []
    for _ in range(3):
        for length in random.integers(2, 1500, 600):
            lengths = np.full(random.integers(1, 1 + max(1, 1024 // length)), length)
            narrow_openvino.backend.start(Pack(np.full(lengths.sum(), 7, dtype=np.int32), lengths, []))()
        memory.append(psutil.Process().memory_info().rss)
    assert memory[2] - memory[0] < 200e6


OUT_OF_MEMORY = """
import resource
import numpy as np
import psutil
from steam_assets.encoder.loading import EncoderSettings, build_encoder
from steam_assets.encoder.models import find_model

encoder = build_encoder(find_model("all-MiniLM-L6-v2"), EncoderSettings(backend="openvino"))
texts = ["farm " * 240 + str(n) for n in range(120)]
expected = encoder.encode(texts)
encoder.backend.release_memory()
encoder.budget.limit = encoder.budget.tokens = 64 * 1024
resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + (200 << 20), -1))
vectors = encoder.encode(texts)
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
print(encoder.memory_errors, encoder.memory_events[0].reason, (vectors * expected).sum(axis=1).min(), sep="|")
"""


def child(code: str, home: Path) -> str:
    """What a new process prints, with a home of its own and as if it were no continuous integration."""
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    ended = subprocess.run(
        [sys.executable, "-c", code], env={**kept, "HOME": str(home)}, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space of a process")
def test_when_memory_runs_out_packs_shrink_and_vectors_stay_right(tmp_path: Path) -> None:
    """A real allocation fails, which leaves OpenVINO's buffers half changed: what is compiled is then made anew."""
    errors, reason, lowest = child(OUT_OF_MEMORY, tmp_path).split("|")
    assert int(errors) > 0
    assert reason.startswith("OpenVINO: Failed to allocate ")
    assert float(lowest) >= 0.99999


INTERRUPTED = """
import gc, os, signal, time
from steam_assets.encoder.loading import EncoderSettings, build_encoder
from steam_assets.encoder.models import find_model
from steam_assets.encoder.openvino_backend import find_precision

for _ in range(2):
    find_precision("cpu", "fp32")
    encoder = build_encoder(find_model("all-MiniLM-L6-v2"), EncoderSettings(backend="openvino"))
encoder = None
gc.collect()
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_reaches_a_process_that_has_let_go_of_its_encoders(tmp_path: Path) -> None:
    """OpenVINO unmaps a stack that signal handlers run on when a second one of its cores goes."""
    assert child(INTERRUPTED, tmp_path) == "interrupted\n"


TELEMETRY = """
import sys
events = []
sys.addaudithook(lambda event, args: event in ("socket.connect", "os.fork") and events.append(event))
from steam_assets.encoder.openvino_graph import import_openvino
openvino = import_openvino()
openvino.convert_model
import openvino.tools.ovc.telemetry_utils as utils
utils.init_ovc_telemetry().send_event("ov", "import", "general_import")
print(events, utils.tm.__name__)
"""


def test_openvinos_telemetry_is_off(tmp_path: Path) -> None:
    """Importing it would send an event and leave an id in the home directory."""
    assert child(TELEMETRY, tmp_path) == "[] openvino.tools.ovc.telemetry_stub\n"
    assert list(tmp_path.iterdir()) == []


def test_loading_and_encoding_print_nothing(narrow: Model, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither torch's advice for its developers nor OpenVINO's; warnings are errors here."""
    build_encoder(narrow, OPENVINO).encode(["a farm"])
    assert capfd.readouterr() == ("", "")


def test_the_backend_is_chosen_by_its_name(minilm_openvino: Encoder) -> None:
    """And says where it runs; packs are padded, and each stream has one."""
    backend = minilm_openvino.backend
    assert (backend.name, backend.device, backend.dtype) == ("openvino", "cpu", "fp32")
    assert backend.packing.padded
    assert backend.in_flight >= 1
    assert backend.device_name
    assert import_openvino() is sys.modules["openvino"]
