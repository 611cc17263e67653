"""What servers of embeddings say, in their own forms."""

import json

from steam_assets.encoder.answers import error_message, is_name_of, read_models, texts_allowed
from steam_assets.encoder.models import BGE_M3


def test_a_refusal_for_the_number_of_texts_is_told_from_others() -> None:
    """The servers' own words: what they allow is read from them, else half is tried."""
    assert texts_allowed("status 413: batch size 40 > maximum allowed batch size 32", 40) == 32
    assert texts_allowed("status 422: List should have at most 2048 items after validation, not 3000", 3000) == 2048
    assert texts_allowed("status 400: Invalid 'input': array too long.", 100) == 50
    assert texts_allowed("status 413: `inputs` must have less than 512 tokens. Given: 600", 40) is None
    assert texts_allowed("status 400: This model's maximum context length is 512 tokens.", 40) is None
    assert texts_allowed("status 413: batch size 1 > maximum allowed batch size 0", 1) is None


def test_a_served_name_is_the_models_or_a_directory_of_that_name() -> None:
    """Another organisation's model of the same name may have other weights."""
    names = ["BAAI/bge-m3", "baai/BGE-M3", "bge-m3", "/data/bge-m3/", "/hub/models--BAAI--bge-m3/x/" + BGE_M3.revision]
    assert [name for name in names if not is_name_of(name, BGE_M3)] == []
    others = ["", "acme/bge-m3", "BAAI/bge-m3-retromae", "/repository", "bge"]
    assert [name for name in others if is_name_of(name, BGE_M3)] == []


def test_an_error_is_understood_in_each_servers_form() -> None:
    """OpenAI's and Infinity's, text-embeddings-inference's, old vLLM's, FastAPI's, and a proxy's plain text."""
    forms = [
        {"error": {"message": "too long", "type": "BadRequestError", "param": None, "code": 400}},
        {"message": "too long", "code": 413, "type": "Validation"},
        {"object": "error", "message": "too long", "type": "BadRequestError", "code": 400},
        {"error": "too long", "error_type": "Validation"},
        {"detail": [{"type": "string_too_long", "loc": ["body", "input"], "msg": "too long", "input": "a row" * 99}]},
        {"detail": "too long"},
    ]
    assert {error_message(json.dumps(form).encode()) for form in forms} == {"too long"}
    assert error_message(b"length limit\nexceeded") == "length limit exceeded"
    assert error_message(b"") == "no reason given"


def test_a_list_of_models_is_read_where_there_is_one() -> None:
    """With the most tokens of each, which vLLM says."""
    listed = {"object": "list", "data": [{"id": "BAAI/bge-m3", "max_model_len": 8192}, {"id": "other"}, {}, 5]}
    assert read_models(json.dumps(listed).encode()) == {"BAAI/bge-m3": 8192, "other": None}
    assert [read_models(data) for data in (None, b"", b"<html>", b"[]", b'{"data": {"id": 1}}')] == [{}] * 5
