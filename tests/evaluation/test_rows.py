"""Result rows on disk: atomic, keyed, shared by processes."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from diffusers_persona.errors import PersonaError
from diffusers_persona.evaluation.rows import RowStore, file_digest, row_key


def row(recipe="lora", concept="poodle", seed=0, key="k", **more):
    return {"recipe": recipe, "concept": concept, "seed": seed, "key": key, **more}


def test_a_stored_row_comes_back(tmp_path):
    store = RowStore(tmp_path / "results")
    store.put(row(numbers={"steps": 3}))
    assert store.rows() == [row(numbers={"steps": 3})]
    assert store.rows("lora") == store.rows() and store.rows("dreambooth") == []


def test_a_new_row_replaces_the_old_one_of_its_cell_alone(tmp_path):
    store = RowStore(tmp_path)
    for each in (row(), row(seed=1), row(concept="otter"), row(key="retrained")):
        store.put(each)
    assert [(r["concept"], r["seed"], r["key"]) for r in store.rows()] == [
        ("otter", 0, "k"),
        ("poodle", 0, "retrained"),
        ("poodle", 1, "k"),
    ]


def test_rows_of_many_writers_are_all_kept(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: RowStore(tmp_path).put(row(seed=seed)), range(40)))
    assert [r["seed"] for r in RowStore(tmp_path).rows("lora")] == list(range(40))


def test_each_recipe_has_its_own_file_of_lines(tmp_path):
    store = RowStore(tmp_path)
    store.put(row())
    store.put(row(recipe="base"))
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == ["base.jsonl", "lora.jsonl"]
    assert json.loads((tmp_path / "lora.jsonl").read_text())["recipe"] == "lora"


def test_a_number_that_json_does_not_have_is_refused_before_it_harms_the_file(tmp_path):
    store = RowStore(tmp_path)
    store.put(row())
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.put(row(seed=1, score=float("nan")))
    assert store.rows() == [row()]


@pytest.mark.parametrize("line", ["{torn", "[]", '{"recipe": "lora"}'])
def test_a_damaged_line_is_named(tmp_path, line):
    store = RowStore(tmp_path)
    store.put(row())
    store.path("lora").write_text(store.path("lora").read_text() + line + "\n")
    with pytest.raises(PersonaError, match=r"lora\.jsonl, line 2: not a result row"):
        store.rows()


def test_the_key_depends_on_every_fact_but_not_on_their_order():
    assert row_key({"a": 1, "b": [2]}) == row_key({"b": [2], "a": 1}) != row_key({"a": 1, "b": [3]})


def test_the_digest_of_files_depends_on_their_contents_alone(tmp_path):
    for name, content in {"a": "1", "b": "2", "c": "1"}.items():
        (tmp_path / name).write_text(content)
    assert file_digest([tmp_path / "a"]) == file_digest([tmp_path / "c"]) != file_digest([tmp_path / "b"])
