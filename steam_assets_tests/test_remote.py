"""The same vectors from a server, whatever it does: through Encoder, from request to row."""

import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from psycopg2.extensions import connection

from steam_assets import gate
from steam_assets.embeddings import SourceTexts
from steam_assets.encoder import endpoint, remote
from steam_assets.encoder.address import KEY, EndpointUnavailable
from steam_assets.encoder.answers import WrongAnswer
from steam_assets.encoder.backend import CannotEmbed, Pack
from steam_assets.encoder.batching import longest_first
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.loading import EncoderSettings, build_encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.preparation import find_preparation
from steam_assets.encoder.remote import RemoteBackend, load_remote, load_tokenizer
from steam_assets.encoder.torch_backend import load_modules
from steam_assets_tests.dagster_home import Ended
from steam_assets_tests.embeddings_server import (
    Embed,
    EmbeddingsServer,
    Misdeed,
    dies_mid_body,
    status,
    web_page,
)
from steam_assets_tests.rows import fetch

TEXTS = [
    "a cozy farm game with friends",
    "Build, explore and survive.",
    "отличная игра про космос и ферму",
    "日本語のレビューです面白いゲーム",
    "dragons 🐉 and swords",
    "x",
]
SECRET = "sk-very-secret-0123456789"  # noqa: S105  # nobody's key


Served = tuple[Embed, Callable[[str], int]]


@pytest.fixture(scope="module")
def served(minilm: Model) -> Served:
    """The packaged model as a server runs it, and how it counts tokens: without truncation, as vLLM does."""
    modules = load_modules(minilm, "cpu", "fp32")

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = modules.encode(list(texts), batch_size=8, show_progress_bar=False)
        return found

    tokenizer = load_tokenizer(minilm)
    return embed, lambda text: len(tokenizer(text, verbose=False)["input_ids"])


def serve(served: Served, model: Model, port: int = 0) -> EmbeddingsServer:
    """A server with this model, under its own name."""
    embed, count = served
    return EmbeddingsServer(embed, count, model.name, port)


@pytest.fixture
def running(served: Served, minilm: Model) -> Iterator[EmbeddingsServer]:
    """A well-behaved server with the packaged model."""
    with serve(served, minilm) as running:
        yield running


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key and no proxy of this machine, and pauses of milliseconds."""
    for name in (KEY, "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(endpoint, "FIRST_PAUSE_S", 0.005)


def encoder_for(model: Model, running: EmbeddingsServer, batch_tokens: int | None = None) -> Encoder:
    """An encoder that asks this server, as the settings make it."""
    return build_encoder(model, EncoderSettings(endpoint=running.url, batch_tokens=batch_tokens))


def page(texts: Sequence[str]) -> SourceTexts:
    """Rows 0, 1, 2... with these texts."""
    return SourceTexts(range(len(texts)), list(texts), [1] * len(texts), [bytes(16)] * len(texts))


def embed_rows(encoder: Encoder, texts: Sequence[str]) -> tuple[dict[int, NDArray[np.float32]], dict[int, str | None]]:
    """Vectors and reasons by row."""
    vectors: dict[int, NDArray[np.float32]] = {}
    reasons: dict[int, str | None] = {}
    for batch in encoder.embed(encoder.windows([page(texts)], find_preparation("plain"))):
        vectors |= {
            int(row): vector for row, vector in zip(batch.embeddings.ids, batch.embeddings.vectors, strict=True)
        }
        reasons |= {int(row.id): row.reason for row in batch.unembeddable}
    return vectors, reasons


def lowest_cosine(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """Of unit vectors, row by row."""
    return float((ours * theirs).sum(axis=1).min())


@pytest.mark.parametrize("base64", [True, False], ids=["base64", "float"])
@pytest.mark.parametrize("shuffles", [False, True], ids=["in order", "shuffled"])
def test_a_server_gives_the_vectors_of_the_same_model_here(
    minilm: Model, minilm_encoder: Encoder, running: EmbeddingsServer, base64: bool, shuffles: bool
) -> None:
    """Whatever the encoding, and in whatever order the server lists them."""
    running.knows_base64, running.shuffles = base64, shuffles
    encoder = encoder_for(minilm, running)
    assert lowest_cosine(encoder.encode(TEXTS), minilm_encoder.encode(TEXTS)) >= 0.9999999
    assert running.requests[-1].body["encoding_format"] == ("base64" if base64 else "float")
    assert running.requests[-1].body["model"] == minilm.name


def test_texts_beyond_the_maximum_are_cut_before_they_are_sent(
    minilm: Model, minilm_encoder: Encoder, running: EmbeddingsServer
) -> None:
    """A server that refuses one token too many, as vLLM does, gives the same vectors of long texts."""
    running.most_tokens = minilm.max_seq_length
    long = [
        " ".join(TEXTS) * 20,
        "unbelievable " * 400,
        "antidisestablishmentarianism" * 30 + " word" * 300,
        "é漢" * 900,
    ]
    long += ["a " * 254, "a " * 255, " " * 9000 + "word " * 300, "zq" * 60 + " [SEP] <b>" * 200]
    cosine = lowest_cosine(encoder_for(minilm, running).encode(long), minilm_encoder.encode(long))
    assert cosine >= 0.9999
    assert max(map(len, running.embeddings_requests[-1].texts)) < 12_000


@pytest.mark.parametrize(
    "misdeeds",
    [[status(503), status(503)], [status(502), status(504)], [status(500)], [dies_mid_body], [status(429)]],
    ids=["503", "502 and 504", "500", "dies mid-body", "429"],
)
def test_a_passing_fault_costs_another_try_and_nothing_else(
    minilm: Model,
    minilm_encoder: Encoder,
    running: EmbeddingsServer,
    misdeeds: list[Misdeed],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server that is busy or restarts loses no row, and every try is logged once."""
    encoder = encoder_for(minilm, running)
    running.misdeeds.extend(misdeeds)
    with caplog.at_level(logging.WARNING):
        vectors, reasons = embed_rows(encoder, TEXTS)
    assert reasons == {}
    assert lowest_cosine(np.stack([vectors[row] for row in range(6)]), minilm_encoder.encode(TEXTS)) >= 0.9999999
    tried = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(tried) == len(misdeeds)
    assert all(running.url.removesuffix("/v1") in line and "try " in line for line in tried)


def test_a_server_that_stays_away_ends_the_run_with_its_address(minilm: Model, running: EmbeddingsServer) -> None:
    """The error names endpoint, tries, the last answer and what to do."""
    encoder = encoder_for(minilm, running)
    running.misdeeds.extend([status(503, "model is loading")] * 20)
    with pytest.raises(EndpointUnavailable, match=r"7 tries: status 503: model is loading") as raised:
        encoder.encode(TEXTS)
    assert encoder.backend.device in str(raised.value)
    assert raised.value.exit_code == 2


def test_an_endpoint_where_nobody_listens_is_told_at_load(minilm: Model) -> None:
    """In three tries, before any run begins."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(EndpointUnavailable, match=rf"http://127.0.0.1:{port} gave no answer in 3 tries.*[Rr]efused"):
        load_remote(minilm, f"http://127.0.0.1:{port}/v1")


def test_a_server_that_returns_after_a_restart_is_found_again(
    minilm: Model, served: Served, running: EmbeddingsServer
) -> None:
    """Connections that the old process took with it are opened again; the port refuses meanwhile."""
    encoder = encoder_for(minilm, running)
    before = encoder.encode(TEXTS)
    port = int(running.url.split(":")[2].removesuffix("/v1"))
    running.__exit__(None, None, None)
    revived: list[EmbeddingsServer] = []

    def restart() -> None:
        time.sleep(0.3)
        revived.append(serve(served, minilm, port).__enter__())

    threading.Thread(target=restart, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(endpoint, "FIRST_PAUSE_S", 0.1)
        assert np.array_equal(encoder.encode(TEXTS), before)
    revived[0].__exit__(None, None, None)


def test_a_server_too_slow_for_a_pack_gets_smaller_ones(
    minilm: Model, running: EmbeddingsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two timeouts of a pack, and it is halved: nothing is quarantined while a few words still get through."""
    encoder = encoder_for(minilm, running)
    monkeypatch.setattr(endpoint, "READ_TIMEOUT_S", 0.2)

    def slow_with_many(texts: Sequence[str]) -> None:
        if len(texts) > 2:
            time.sleep(0.5)

    running.refuse = slow_with_many
    vectors, reasons = embed_rows(encoder, TEXTS)
    assert (len(vectors), reasons) == (6, {})


def test_a_server_that_hangs_ends_the_run(
    minilm: Model, running: EmbeddingsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the probe comes back: no text is to blame."""
    encoder = encoder_for(minilm, running)
    monkeypatch.setattr(endpoint, "READ_TIMEOUT_S", 0.1)
    running.delay_s = 30
    with pytest.raises(EndpointUnavailable, match="ReadTimeoutError"):
        encoder.encode(TEXTS)


def test_a_text_that_breaks_the_server_costs_that_row(minilm: Model, running: EmbeddingsServer) -> None:
    """A status of 500 or 424 for one text is that text's fault when others get through."""
    running.refuse = lambda texts: (424, {"message": "Inference failed"}) if TEXTS[2] in texts else None
    vectors, reasons = embed_rows(encoder_for(minilm, running), TEXTS)
    assert sorted(vectors) == [0, 1, 3, 4, 5]
    assert str(reasons[2]).endswith("fails at it, status 424: Inference failed")


def test_a_lone_text_is_tried_longer_than_a_pack(minilm: Model, running: EmbeddingsServer) -> None:
    """It cannot be halved, and a server that fails for some seconds must not cost it its vector."""
    encoder = encoder_for(minilm, running)
    running.misdeeds.extend([status(500)] * 5)
    vectors, reasons = embed_rows(encoder, TEXTS[:1])
    assert (len(vectors), reasons) == (1, {})


def test_a_text_that_the_server_refuses_costs_that_row(minilm: Model, running: EmbeddingsServer) -> None:
    """The row is quarantined with the server's reason, on one short line."""
    message = "no swords here\n\x1b[31m" + "!" * 1000
    running.refuse = lambda texts: (400, {"error": {"message": message}}) if TEXTS[4] in texts else None
    vectors, reasons = embed_rows(encoder_for(minilm, running), TEXTS)
    assert sorted(vectors) == [0, 1, 2, 3, 5]
    assert "status 400: no swords here [31m!!!" in str(reasons[4])
    assert len(str(reasons[4])) < 300


def test_a_row_of_nan_is_quarantined(minilm: Model, running: EmbeddingsServer) -> None:
    """Strict JSON has no NaN: servers write null."""
    running.knows_base64 = False
    encoder = encoder_for(minilm, running)

    def spoil(answer: dict[str, Any]) -> object:
        if len(answer["data"]) == 6:
            answer["data"][0]["embedding"][5] = None
        return answer

    running.edit = spoil
    vectors, reasons = embed_rows(encoder, TEXTS)
    assert len(vectors) == 5
    assert "no finite vector" in str(next(iter(reasons.values())))


def test_the_number_of_texts_a_server_takes_is_learnt_once(minilm: Model, running: EmbeddingsServer) -> None:
    """text-embeddings-inference refuses more than 32 texts; after one refusal no request has more."""
    running.most_texts = 32
    encoder = encoder_for(minilm, running, batch_tokens=1000)
    texts = [f"game number {number}" for number in range(160)]
    vectors, reasons = embed_rows(encoder, texts)
    assert (len(vectors), reasons) == (160, {})
    sizes = [len(request.texts) for request in running.embeddings_requests]
    assert len([size for size in sizes if size > 32]) <= encoder.backend.in_flight
    vectors, _ = embed_rows(encoder, [text + "!" for text in texts])
    assert len(vectors) == 160
    assert max(len(request.texts) for request in running.embeddings_requests[len(sizes) :]) <= 32


WRONG: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "one too few": (lambda answer: answer | {"data": answer["data"][:-1]}, "each index once"),
    "one too many": (lambda answer: answer | {"data": [*answer["data"], answer["data"][0]]}, "each index once"),
    "an index twice": (lambda answer: answer | {"data": [answer["data"][0]] * 2}, "each index once"),
    "an index out of range": (
        lambda answer: answer | {"data": [entry | {"index": entry["index"] + 1} for entry in answer["data"]]},
        "each index once",
    ),
    "another dimension": (
        lambda answer: answer | {"data": [entry | {"embedding": [0.5] * 768} for entry in answer["data"]]},
        "768 numbers; the model gives 384",
    ),
    "words": (
        lambda answer: answer | {"data": [entry | {"embedding": ["0.5"] * 384} for entry in answer["data"]]},
        "expected 384 numbers",
    ),
    "half a base64": (
        lambda answer: answer | {"data": [entry | {"embedding": "AAA"} for entry in answer["data"]]},
        "expected 384 numbers",
    ),
    "no vectors": (lambda answer: {"embeddings": []}, 'expected JSON with vectors in "data"'),
    "a list": (lambda answer: [], 'expected JSON with vectors in "data"'),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_answer_that_is_not_these_texts_vectors_is_never_believed(
    minilm: Model, running: EmbeddingsServer, what: str
) -> None:
    """It ends the load, and a run: a server that answers so is not one to be trusted with the next text."""
    encoder = encoder_for(minilm, running)
    running.edit, expected = WRONG[what]
    with pytest.raises(WrongAnswer, match=expected):
        encoder.encode(TEXTS[:2])
    with pytest.raises(WrongAnswer, match=expected):
        encoder_for(minilm, running)


def test_a_web_page_is_no_answer(minilm: Model, running: EmbeddingsServer) -> None:
    """Its beginning is shown, so that one sees whose page it is."""
    encoder = encoder_for(minilm, running)
    running.misdeeds.append(web_page)
    with pytest.raises(WrongAnswer, match="<title>Sign in") as raised:
        encoder.encode(TEXTS)
    assert len(str(raised.value)) < 600


def test_the_key_is_sent_and_shown_nowhere(
    minilm: Model, running: EmbeddingsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in logs, not in what objects say of themselves, not in an error that quotes a server which repeats it."""
    running.key = SECRET
    monkeypatch.setenv(KEY, SECRET)
    running.refuse = lambda texts: (400, {"message": f"bad text, {SECRET}"}) if "x" in texts else None
    with caplog.at_level(logging.DEBUG):
        encoder = encoder_for(minilm, running)
        running.misdeeds.append(status(503, f"busy, {SECRET}"))
        assert len(encoder.encode(TEXTS[:2])) == 2
        with pytest.raises(CannotEmbed) as raised:
            encoder.encode(["x"])
    backend = encoder.backend
    assert isinstance(backend, RemoteBackend)
    assert running.requests[-1].headers["Authorization"] == f"Bearer {SECRET}"
    said = [str(raised.value), repr(encoder), repr(backend), repr(backend._endpoint), repr(vars(backend)), caplog.text]
    assert not [text for text in said if SECRET in text]
    assert "***" in said[0]


@pytest.mark.parametrize("listed", [True, False], ids=["in its list", "in its answer"])
def test_a_server_with_another_model_is_refused_at_load(minilm: Model, running: EmbeddingsServer, listed: bool) -> None:
    """Of the same dimension nothing else would show it."""
    running.name, running.lists_models = "BAAI/bge-small-en-v1.5", listed
    with pytest.raises(
        EndpointUnavailable, match=r"bge-small-en-v1.5.*expected sentence-transformers/all-MiniLM-L6-v2"
    ):
        load_remote(minilm, running.url)


def test_a_model_under_another_name_is_accepted_when_the_address_says_so(
    minilm: Model, running: EmbeddingsServer
) -> None:
    """Containers serve /repository; whoever knows that it is the same model writes it behind #."""
    running.name = "/repository"
    _, backend = load_remote(minilm, f"{running.url}#/repository")
    assert backend.device_name == "/repository"
    assert running.requests[-1].body["model"] == "/repository"
    assert "#" not in running.requests[-1].path
    with pytest.raises(EndpointUnavailable, match="answers as '/repository'"):
        load_remote(minilm, f"{running.url}#other")


def test_a_server_that_becomes_another_ends_the_run(minilm: Model, running: EmbeddingsServer) -> None:
    """Restarted with another model under way, it would mix vectors."""
    encoder = encoder_for(minilm, running)
    running.name = "BAAI/bge-small-en-v1.5"
    with pytest.raises(EndpointUnavailable, match=r"now answers as 'BAAI/bge-small-en-v1.5'"):
        encoder.encode(TEXTS)


def test_a_server_that_reads_less_than_the_model_is_refused(minilm: Model, running: EmbeddingsServer) -> None:
    """At load when its list says so; else when it has counted fewer tokens than it was sent."""
    running.most_tokens = 128
    with pytest.raises(EndpointUnavailable, match=r"at most 128 tokens.*--max-model-len 256"):
        load_remote(minilm, running.url)
    running.most_tokens = None
    encoder = encoder_for(minilm, running)
    count = running.count
    running.count = lambda text: min(128, count(text))
    encoder.encode(TEXTS)
    with pytest.raises(EndpointUnavailable, match="has read 128 of 256 tokens"):
        encoder.encode(["farm " * 1000])


def test_a_server_that_adds_a_prompt_is_warned_about(
    minilm: Model, running: EmbeddingsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It counts more tokens than the texts have."""
    count = running.count
    running.count = lambda text: count(f"passage: {text}")
    load_remote(minilm, running.url)
    assert "adds a prompt" in caplog.text


def test_several_requests_are_under_way_at_once(minilm: Model, running: EmbeddingsServer) -> None:
    """The server batches what it has; a single request at a time would leave it waiting for us."""
    encoder = encoder_for(minilm, running, batch_tokens=20)
    running.delay_s = 0.05
    encoder.encode([f"game number {number}" for number in range(40)])
    assert 2 <= running.most_at_once <= encoder.backend.in_flight


def test_a_run_that_is_given_up_does_not_wait_for_the_server(minilm: Model, running: EmbeddingsServer) -> None:
    """A generator closes within a second while requests are under way."""
    encoder = encoder_for(minilm, running, batch_tokens=20)
    batches = encoder.embed(
        encoder.windows([page([f"game number {number}" for number in range(40)])], find_preparation("plain"))
    )
    next(batches)
    running.delay_s = 30
    next(batches)
    began = time.monotonic()
    batches.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 1


WAIT_FOR_SERVER = """
import sys, _thread, threading
from steam_assets.encoder.models import DEMO_MODEL, find_model
from steam_assets.encoder.loading import EncoderSettings, build_encoder

encoder = build_encoder(find_model(DEMO_MODEL), EncoderSettings(endpoint=sys.argv[1]))
threading.Timer(0.5, _thread.interrupt_main).start()
try:
    encoder.encode(["slow"])
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_a_process_that_is_interrupted_ends_though_a_server_is_silent(running: EmbeddingsServer) -> None:
    """No thread that waits for an answer holds up the exit."""

    def silent(texts: Sequence[str]) -> None:
        if "slow" in texts:
            silent_since.append(time.monotonic())
            running.closing.wait(30)

    silent_since: list[float] = []
    running.refuse = silent
    ended = subprocess.run(
        [sys.executable, "-c", WAIT_FOR_SERVER, running.url], capture_output=True, text=True, check=False, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (0, "interrupted\n"), ended.stderr
    assert time.monotonic() - silent_since[0] < 5


def test_packs_are_cut_here_and_nothing_is_padded(minilm: Model, running: EmbeddingsServer) -> None:
    """Longest first within a budget of tokens, so that the server's batches are even."""
    tokenizer, backend = load_remote(minilm, running.url)
    tokens = tokenizer.tokenize(TEXTS)
    pack: Pack = tokens.pack(longest_first(tokens.lengths))
    assert backend.packing.cost(pack.lengths) == len(pack.ids)
    assert backend.start(pack)().shape == (6, 384)
    assert (backend.dtype, backend.peak_memory_bytes()) == ("remote", None)
    assert remote.PROBES[0] == running.embeddings_requests[0].texts[0]


@pytest.mark.slow
def test_a_column_is_embedded_through_a_server_from_the_command_line(
    steam_assets: Callable[..., Ended],
    tables: connection,
    running: EmbeddingsServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every row, through the same run, pipeline and checks; where the weights are here its vectors are compared."""
    monkeypatch.setattr(gate, "CPU_TOKENS", 3000)
    ended = steam_assets("embed", "reviews", "--endpoint", running.url, "--json")
    assert ended.code == 0, ended
    assert [status["state"]["embedded"] for status in json.loads(ended.out)] == [24]
    records = fetch(tables, "SELECT dtype, details ->> 'backend', details -> 'precision' FROM embedding_run_ranges")
    assert {record[:2] for record in records} == {("remote", "remote")}
    assert all(record[2] is not None for record in records)
    assert len(running.embeddings_requests) >= 2

    nobody = steam_assets("embed", "applications", "--endpoint", "http://127.0.0.1:9/v1")
    assert nobody.code == 2
    assert "127.0.0.1:9" in nobody.err
