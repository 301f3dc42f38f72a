"""The table of released models: every spelling of a name, and figures that follow from the shapes."""

from __future__ import annotations

import pytest

from qwen3cpu.checkpoint.known_models import GGUF, KNOWN, canonical, find_known, nearest_known


@pytest.mark.parametrize(
    ("name", "hub_id"),
    [
        *[
            (name, "Qwen/Qwen3-1.7B")
            for name in ("1.7B", "1.7b", "qwen3:1.7b", "Qwen3-1.7B", "qwen3-1.7b", "Qwen/Qwen3-1.7B")
        ],
        *[(name, "Qwen/Qwen3-1.7B") for name in ("qwen/qwen3-1.7b", "qwen3:1.7b:latest", " qwen3 1.7b ", "qwen3_1.7b")],
        ("embedding-0.6b", "Qwen/Qwen3-Embedding-0.6B"),
        ("qwen3-embedding:0.6b", "Qwen/Qwen3-Embedding-0.6B"),
        ("Reranker-4B", "Qwen/Qwen3-Reranker-4B"),
        ("4b-awq", "Qwen/Qwen3-4B-AWQ"),
        ("Qwen/Qwen3-0.6B-GPTQ-Int8", "Qwen/Qwen3-0.6B-GPTQ-Int8"),
        ("qwen3:4b-instruct", "Qwen/Qwen3-4B-Instruct-2507"),
        ("0.6B-Base", "Qwen/Qwen3-0.6B-Base"),
        ("qwen3:30b", "Qwen/Qwen3-30B-A3B"),
    ],
)
def test_spellings(name: str, hub_id: str) -> None:
    found = find_known(name)
    assert found is not None
    assert found.hub_id == hub_id == canonical(name)


@pytest.mark.parametrize(
    "name", ["", "B", "qwen3", "7B", "other/Qwen3-1.7B", "qwen2.5:1.7b", "1.7B-GGUF", "./1.7B", "tiny"]
)
def test_what_is_no_name(name: str) -> None:
    assert find_known(name) is None
    assert canonical(name) == name


def test_every_model_is_found_by_all_of_its_names() -> None:
    for model in KNOWN:
        for name in (
            model.name,
            model.short,
            model.hub_id,
            model.name.lower().replace("-", ":", 1),
            *model.other_names,
        ):
            found = find_known(name)
            assert found is not None
            assert found.model is model, name
        for form in model.forms:
            assert (find_known(f"{model.short}-{form}") is None) == (form == GGUF)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Qwen3-1.8B", "Qwen3-1.7B"),
        ("Qwen/Qwen3-06B", "Qwen3-0.6B"),
        ("embeding-0.6b", "Qwen3-Embedding-0.6B"),
        ("qwen3:1.7b-q4_K_M", "Qwen3-1.7B"),
        ("embedding", "Qwen3-Embedding-0.6B"),
        ("other/qwen3-1.7b", None),
        ("llama3", None),
        ("", None),
    ],
)
def test_misspelt_names(name: str, near: str | None) -> None:
    assert nearest_known(name) == near


def test_parameters_are_those_of_the_model_cards() -> None:
    """In billions, rounded as on the cards. Embedding models have no head."""
    expected = {"0.6B": 0.6, "1.7B": 1.7, "4B": 4.0, "8B": 8.2, "14B": 14.8, "32B": 32.8}
    by_name = {model.short: model for model in KNOWN}
    assert {size: round(by_name[size].parameters / 1e9, 1) for size in expected} == expected
    assert round(by_name["Embedding-8B"].parameters / 1e9, 2) == 7.57
    assert by_name["Reranker-8B"].parameters == by_name["8B"].parameters
    # The files of the two smallest hold the head beside the embedding that it is tied to.
    assert round(by_name["1.7B"].file_bytes / 1e9, 2) == 4.06
    assert round(by_name["0.6B"].file_bytes / 1e9, 1) == 1.5
    assert round(by_name["4B"].file_bytes / 1e9, 2) == 8.04


def test_models_with_experts() -> None:
    with_experts = {model.short: model.config() for model in KNOWN if model.config().experts is not None}
    assert set(with_experts) == {model.short for model in KNOWN if "-A3B" in model.name or "-A22B" in model.name}
    for config in with_experts.values():
        assert config.experts is not None
        assert (config.experts.count, config.experts.chosen, config.experts.dense_layers) == (128, 8, ())
    assert round(with_experts["30B-A3B"].parameters() / 1e9, 2) == 30.53
    assert round(with_experts["235B-A22B"].parameters() / 1e9, 2) == 235.09
