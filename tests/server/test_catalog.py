"""Which model a name means, and which models a folder has."""

import pytest
from library import Offered

from qwen3cpu.errors import ArgumentError
from qwen3cpu.server.models import offers
from qwen3cpu.server.models.catalog import Catalog
from qwen3cpu.server.models.errors import UnknownModelError


def test_names():
    catalog = Catalog([Offered("Qwen/Qwen3-1.7B"), Offered("qwen3-0.6b"), Offered("vectors", task="embedding")])
    assert catalog.find("qwen3-0.6b:latest").name == "qwen3-0.6b"
    assert catalog.find(None).name == catalog.find(None, "generation").name == "Qwen/Qwen3-1.7B"
    assert catalog.find(None, "embedding").name == "vectors"
    assert catalog.find(None, "reranking").name == "Qwen/Qwen3-1.7B"
    for name, hint in (
        ("qwen/qwen3-1.8b", "did you mean 'Qwen/Qwen3-1.7B'?"),
        ("qwen3-0.6", "did you mean 'qwen3-0.6b'?"),
        ("gpt", "expected one of 'Qwen/Qwen3-1.7B', 'qwen3-0.6b', 'vectors'"),
    ):
        with pytest.raises(UnknownModelError) as error:
            catalog.find(name)
        assert str(error.value) == f"the model {name!r} is not here; {hint}"


@pytest.mark.parametrize("name", ["1.7B", "qwen3:1.7b", "Qwen3-1.7B", "qwen/qwen3-1.7b:latest"])
def test_a_released_model_in_any_spelling(name):
    catalog = Catalog([Offered("Qwen/Qwen3-0.6B"), Offered("Qwen/Qwen3-1.7B")])
    assert catalog.find(name).name == "Qwen/Qwen3-1.7B"
    folder = Catalog([Offered("qwen3-1.7b"), Offered("Qwen/Qwen3-1.7B")])
    assert folder.find(name).name == "qwen3-1.7b"
    assert folder.find("Qwen/Qwen3-1.7B").name == "Qwen/Qwen3-1.7B"


def test_a_damaged_model_is_left_out():
    catalog = Catalog([Offered("damaged", task=None), Offered("good")])
    assert [offer.name for offer in catalog.readable()] == ["good"]
    assert catalog.find(None, "generation").name == "good"


def test_two_models_with_one_name():
    with pytest.raises(ArgumentError, match="--model: expected models with different names, found 'a' twice"):
        Catalog([Offered("a"), Offered("a:latest")])


def test_models_in_a_folder(tmp_path, monkeypatch):
    is_model = offers._is_model

    def names():
        return [offer.name for offer in catalog.offers()]

    catalog = Catalog([Offered("first")], tmp_path)
    assert (names(), catalog.only_one) == (["first"], False)
    for name in ("folder", "Qwen--Qwen3-0.6B", ".hidden", "empty"):
        (tmp_path / name).mkdir()
        if name != "empty":
            (tmp_path / name / "config.json").touch()
    parts = ("big-00001-of-00002.gguf", "big-00002-of-00002.gguf")
    for name in ("packed.qwen3", "other.gguf", "first.qwen3", "notes.txt", ".part.gguf", *parts):
        (tmp_path / name).touch()
    expected = ["first", "Qwen/Qwen3-0.6B", "big-00001-of-00002.gguf", "folder", "other.gguf", "packed"]
    assert names() == expected
    same = catalog.find("packed")
    assert catalog.find("packed") is same
    (tmp_path / "packed.qwen3").write_bytes(b"another")
    catalog.offers()
    assert catalog.find("packed") is not same, "its files have changed"
    (tmp_path / "packed.qwen3").unlink()
    monkeypatch.setattr(offers, "_is_model", lambda path: is_model(path) or path.name == "gone")
    (tmp_path / "gone").symlink_to(tmp_path / "removed meanwhile")
    assert names() == expected[:-1]
    with pytest.raises(UnknownModelError):
        catalog.find("packed")
    with pytest.raises(ArgumentError, match=r"--models-dir: .* cannot be read"):
        Catalog([], tmp_path / "nowhere")
