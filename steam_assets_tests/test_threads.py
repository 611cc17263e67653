"""Threads for queries: no more than make them quicker, and never fewer than another model of the process needs."""

import pytest

from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.threads import fewest_threads, use_few_threads


@pytest.mark.parametrize(
    ("seconds", "threads"),
    [((1.0, 1.1, 0.9, 0.9), 1), ((1.0, 0.5, 0.45, 0.1), 2), ((1.0, 0.6, 0.3, 0.2), 8), ((1.0,), 1)],
    ids=str,
)
def test_threads_are_doubled_while_that_pays(seconds: tuple[float, ...], threads: int) -> None:
    """What comes after a step that did not pay is not tried, nor more threads than there are."""
    taken = dict(zip((1, 2, 4, 8), seconds, strict=False))
    assert fewest_threads(taken.__getitem__, max(taken)) == threads


def test_torch_uses_them_and_vectors_stay_what_they_are(minilm_encoder: Encoder) -> None:
    """In this process from now on; as many as another model needs stay."""
    import torch

    before = torch.get_num_threads()
    vectors = minilm_encoder.encode(["trains"])
    try:
        chosen = use_few_threads(minilm_encoder)
        assert torch.get_num_threads() == chosen <= before
        assert use_few_threads(minilm_encoder, fewest=before) == torch.get_num_threads() == before
        assert minilm_encoder.encode(["trains"]) == pytest.approx(vectors, abs=1e-6)
    finally:
        torch.set_num_threads(before)
