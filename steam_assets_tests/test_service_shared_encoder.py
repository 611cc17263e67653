"""Vectors of search texts: the encoder's own, in one forward for all who wait, and remembered."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from steam_assets.encoder.backend import CannotEmbed, Pack, Vectors
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.service.shared_encoder import LONGEST_REMEMBERED, SharedEncoder, shared_encoders
from steam_assets_tests.databases import wait_until
from steam_assets_tests.hash_encoder import HashBackend, OneToken, hash_encoder

LONE_SURROGATE = "half a character: \ud800"


class WatchedBackend(HashBackend):
    """Notes the texts of each forward; one with `wait` in it lasts until ``go_on`` is set."""

    def __init__(self, dimension: int) -> None:
        super().__init__(dimension)
        self.forwards: list[list[str]] = []
        self.go_on = threading.Event()

    def start(self, pack: Pack) -> Callable[[], Vectors]:
        """The vectors of a pack."""
        self.forwards.append(sorted(pack.texts))
        if "wait" in pack.texts:
            assert self.go_on.wait(30)
        return super().start(pack)


@pytest.fixture
def backend(minilm: Model) -> WatchedBackend:
    """What the model is asked."""
    return WatchedBackend(minilm.dimension)


@pytest.fixture
def queries(minilm: Model, backend: WatchedBackend) -> SharedEncoder:
    """A shared encoder that remembers three texts."""
    return SharedEncoder(Encoder(minilm, OneToken(), backend), remembered=3)


def test_vectors_are_those_of_the_encoder(minilm: Model, queries: SharedEncoder) -> None:
    """In the order asked, also of texts that were asked before."""
    texts = ["trains", "farms", "trains", "ships"]
    expected = hash_encoder(minilm).encode(texts)
    np.testing.assert_array_equal(queries.encode(texts), expected)
    np.testing.assert_array_equal(queries.encode(texts[::-1]), expected[::-1])


def test_a_text_that_was_asked_before_costs_nothing(queries: SharedEncoder, backend: WatchedBackend) -> None:
    """The last few are remembered, the oldest forgotten first; very long ones are not kept at all."""
    for text in ("a", "b", "c", "a", "d", "a", "b"):
        queries.encode([text])
    assert backend.forwards == [["a"], ["b"], ["c"], ["d"], ["b"]]

    long = "x" * (LONGEST_REMEMBERED + 1)
    for _ in range(2):
        queries.encode([long])
    assert backend.forwards[5:] == [[long], [long]]


def test_texts_that_wait_go_through_the_model_together(queries: SharedEncoder, backend: WatchedBackend) -> None:
    """While one forward is under way three others ask, two of them the same: the next forward has both texts."""
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(queries.encode, ["wait"])
        wait_until(lambda: backend.forwards == [["wait"]], "the first is at work")
        others = [threads.submit(queries.encode, [text]) for text in ("a", "b", "a")]
        wait_until(lambda: len(queries._waiting) == 3, "the others wait")
        backend.go_on.set()
        found = [each.result(30)[0] for each in (first, *others)]
    assert backend.forwards == [["wait"], ["a", "b"]]
    np.testing.assert_array_equal(found[1], found[3])
    assert not np.array_equal(found[1], found[2])
    assert queries._waiting == {}


def test_a_text_that_cannot_be_embedded_spoils_no_other(queries: SharedEncoder, backend: WatchedBackend) -> None:
    """Of two that waited together, one gets its vector and the other is told; neither is asked for for ever."""
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(queries.encode, ["wait"])
        wait_until(lambda: backend.forwards == [["wait"]], "the first is at work")
        good, bad = (threads.submit(queries.encode, [text]) for text in ("good", LONE_SURROGATE))
        wait_until(lambda: len(queries._waiting) == 3, "both wait")
        backend.go_on.set()
        assert first.result(30).shape == good.result(30).shape
        with pytest.raises(CannotEmbed, match="no valid Unicode"):
            bad.result(30)
    assert queries._waiting == {}
    with pytest.raises(CannotEmbed):
        queries.encode([LONE_SURROGATE])


def test_a_model_is_loaded_once_whoever_asks(minilm: Model) -> None:
    """Also when several ask at the same time."""
    loaded: list[Model] = []

    def load(model: Model) -> Encoder:
        loaded.append(model)
        return hash_encoder(model)

    find = shared_encoders(load, 2)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(find, [minilm] * 8))
    assert len(set(map(id, found))) == 1
    assert loaded == [minilm]
