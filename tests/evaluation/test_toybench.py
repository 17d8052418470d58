"""ToyBench end to end: real learning and scoring in a tiny world."""

import dataclasses
import json

import pytest
from PIL import Image
from tiny_bench import PROMPTS, tiny_host

from diffusers_persona.errors import PersonaError
from diffusers_persona.evaluation import making, sweep, toybench
from diffusers_persona.evaluation.cells import cell_key, compute
from diffusers_persona.evaluation.executors import Processes, Ray
from diffusers_persona.evaluation.lessons import Cell
from diffusers_persona.evaluation.making import Settings
from diffusers_persona.evaluation.summary import REFERENCE_ROWS

TINY = {"steps": 2, "batch_size": 1}
FAST = {"settings": Settings(steps=1, images_per_prompt=1), "host": tiny_host, "report": lambda line: None}


def cell(recipe="base", concept="poodle", seed=0, **numbers):
    return Cell(recipe=recipe, concept=concept, seed=seed, numbers=numbers)


@pytest.fixture
def bench(tmp_path):
    """`run` in a folder of its own; returns the rows."""

    def run(recipes=("textual-inversion",), **options):
        places = {"output": tmp_path / "rows", "docs": None, "evidence": tmp_path / "evidence.json"}
        asked = {"seeds": (0,), "concepts": ["poodle"], "numbers_overrides": dict.fromkeys(recipes, TINY)}
        return toybench.run(recipes, **(FAST | places | asked | options))

    return run


def test_a_run_makes_a_row_a_cell_and_the_pages(bench, tmp_path):
    rows = bench(["textual-inversion", "lora"], concepts=None, docs=tmp_path / "docs")
    assert sorted({row["recipe"] for row in rows}) == sorted([*REFERENCE_ROWS, "lora", "textual-inversion"])
    assert len(rows) == 12 and all(len(row["scores"]) == len(PROMPTS) for row in rows)
    assert "`lora`" in (tmp_path / "docs" / "scoreboard.md").read_text()
    assert Image.open(tmp_path / "docs" / "images" / "pareto.png").format == "PNG"
    assert "fidelity_over_base" in json.loads((tmp_path / "evidence.json").read_text())["lora"]["efficacy"]


def test_a_row_tells_everything_its_scores_hang_on():
    row = compute(cell("lora", **TINY), tiny_host(), Settings(steps=1, images_per_prompt=2)).row
    assert row["numbers"]["steps"] == 2 and row["overrides"] == TINY and "rank" in row["numbers"]
    assert row["settings"]["images_per_prompt"] == 2 and row["settings"]["steps"] == 1
    assert row["instruments"]["models"]["dino"] and row["instruments"]["preprocessing"]["dino"]
    assert row["learn_seconds"] > 0 and row["artifact_bytes"] > 0
    assert row["machine"]["threads"] >= 1 and set(row["versions"]) >= {"torch", "diffusers", "transformers", "peft"}
    assert row["prompts"] == [prompt.template for prompt in PROMPTS]
    assert json.loads(json.dumps(row)) == row


def test_a_finished_row_is_never_computed_twice(bench, monkeypatch):
    before = bench()
    monkeypatch.setattr(sweep, "compute", lambda *arguments: 1 / 0)
    assert bench() == before


def test_an_interrupted_run_goes_on_where_it_stopped(bench, monkeypatch):
    done = []

    def interrupted(each, host, settings):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(each)
        return compute(each, host, settings)

    monkeypatch.setattr(sweep, "compute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench()
    monkeypatch.setattr(sweep, "compute", lambda each, *rest: (done.append(each), compute(each, *rest))[1])
    assert len(bench()) == len(done) == 5


def test_without_resume_everything_is_computed_again(bench, monkeypatch):
    bench(recipes=[])
    done = []
    monkeypatch.setattr(sweep, "compute", lambda each, *rest: (done.append(each), compute(each, *rest))[1])
    bench(recipes=[], resume=False)
    assert len(done) == 4


def test_a_failed_cell_is_told_at_the_end_and_does_not_stop_the_others(bench, monkeypatch, tmp_path):
    def failing(each, *rest):
        if each.recipe == "base":
            raise RuntimeError("out of paper")
        return compute(each, *rest)

    monkeypatch.setattr(sweep, "compute", failing)
    with pytest.raises(PersonaError, match="1 of 4 cells failed.*base / poodle / seed 0: RuntimeError: out of paper"):
        bench(recipes=[])
    assert sorted(path.stem for path in (tmp_path / "rows").glob("*.jsonl")) == ["copy-paste", "oracle", "real-images"]


@pytest.mark.parametrize("executor", [Processes(2), Ray(2)], ids=["processes", "ray"])
def test_two_workers_give_the_scores_of_one_and_any_executor_goes_on_where_another_stopped(bench, tmp_path, executor):
    alone = bench(recipes=[], concepts=None)
    shared = {"recipes": [], "concepts": None, "output": tmp_path / "shared"}
    bench(**shared | {"concepts": ["poodle"]})
    lines = []
    rows = bench(**shared, executor=executor, report=lines.append)
    assert lines[0] == "ToyBench: 8 cells, 4 finished before, 4 to do"
    assert [row["key"] for row in rows] == [row["key"] for row in alone]
    for one, other in zip(alone, rows, strict=True):
        dino_i = [[score["dino_i"] for score in row["scores"]] for row in (one, other)]
        assert dino_i[0] == pytest.approx(dino_i[1], abs=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipes": ["no-such-recipe"]}, "no recipe 'no-such-recipe'"),
        ({"concepts": ["griffin"]}, "no concept 'griffin': choose from poodle, Anna Smith"),
        ({"kinds": ["ghost"]}, "no concept of kind 'ghost': choose from object, person"),
        ({"kinds": ["people"]}, "none of poodle is of kind person"),
        ({"numbers_overrides": {"lora": {"steps": 1}}}, "lora, which this run does not learn"),
        ({"numbers_overrides": {"textual-inversion": {"stepps": 1}}}, "no number 'stepps'"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_computed(bench, tmp_path, options, message):
    with pytest.raises(PersonaError, match=message):
        bench(**options)
    assert not (tmp_path / "rows").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"base_fingerprint": "retrained"},
        {"instruments_fingerprint": "retrained"},
        {"masking": "another rule"},
        {"prompts": lambda kind: PROMPTS[:1]},
    ],
)
def test_a_row_is_stale_when_its_world_changes(change):
    host, settings = tiny_host(), Settings()
    assert cell_key(cell(), dataclasses.replace(host, **change), settings) != cell_key(cell(), host, settings)


def test_a_row_is_stale_when_numbers_or_settings_change_but_not_the_batch():
    host, key = tiny_host(), cell_key(cell("lora"), tiny_host(), Settings())
    assert cell_key(cell("lora", lr=1.0), host, Settings()) != key
    assert cell_key(cell("lora"), host, Settings(guidance=1.0)) != key
    assert cell_key(cell("lora"), host, Settings(batch=1)) == key


def test_recipes_and_base_start_from_the_same_noise():
    host = tiny_host()
    texts, settings = ["a dog", "a red dog"], Settings(steps=1, images_per_prompt=2)
    together = making.generate(texts, 3, host, settings)
    split = making.generate(texts, 3, host, dataclasses.replace(settings, batch=1))
    assert [len(row) for row in together] == [2, 2]
    assert together[0][0].tobytes() != together[0][1].tobytes()
    for one, other in zip(sum(together, []), sum(split, []), strict=True):
        assert max(abs(a - b) for a, b in zip(one.tobytes(), other.tobytes(), strict=True)) <= 1
    assert making.generate(texts, 4, host, settings)[0][0].tobytes() != together[0][0].tobytes()


def test_fewer_prompts_are_spread_over_the_list():
    row = compute(cell("copy-paste"), tiny_host(), Settings(prompts=2)).row
    assert row["prompts"] == [PROMPTS[0].template, PROMPTS[1].template]


def test_a_missing_rendering_is_named(tmp_path):
    host = tiny_host()
    concept = dataclasses.replace(host.concepts[0], folder=tmp_path)
    with pytest.raises(PersonaError, match=r"oracle/00\.png is missing"):
        compute(cell("oracle"), dataclasses.replace(host, concepts=(concept,)), Settings())


def test_the_pipeline_is_left_as_it_was():
    host = tiny_host()
    before = {name: tensor.clone() for name, tensor in host.pipe.unet.state_dict().items()}
    compute(cell("dreambooth", **TINY, prior_count=2), host, Settings(steps=1, images_per_prompt=1))
    assert all((before[name] == tensor).all() for name, tensor in host.pipe.unet.state_dict().items())


def test_rendering_without_rows_says_what_to_run(tmp_path):
    with pytest.raises(PersonaError, match="persona bench toybench"):
        toybench.render(tmp_path, tmp_path)


def test_the_scoreboard_shows_rows_of_the_present_models_alone(bench, tmp_path):
    bench(recipes=[])
    path = tmp_path / "rows" / "base.jsonl"
    old = json.loads(path.read_text()) | {"base_fingerprint": "old", "seed": 7, "recipe": "outdated", "key": "old"}
    (tmp_path / "rows" / "outdated.jsonl").write_text(json.dumps(old) + "\n")
    page = toybench.render(
        tmp_path / "rows", tmp_path / "docs", evidence=tmp_path / "evidence.json", fingerprints=("tiny", "tiny")
    )
    assert "outdated" not in page.read_text()


def test_pictures_are_kept_where_asked_and_made_again_where_they_are_missing(bench, tmp_path):
    bench(recipes=[])
    bench(recipes=[], pictures=tmp_path / "pictures")
    kept = sorted(str(path.relative_to(tmp_path / "pictures")) for path in (tmp_path / "pictures").rglob("*.png"))
    assert kept == [f"base/poodle/0/{number:02d}_0.png" for number in range(len(PROMPTS))]
    lines = []
    bench(recipes=[], pictures=tmp_path / "pictures", report=lines.append)
    assert lines == ["ToyBench: 4 cells, 4 finished before, 0 to do"]


def test_one_kind_of_concepts_can_be_picked(bench):
    assert {row["concept"] for row in bench(recipes=[], concepts=None, kinds=["people"])} == {"Anna Smith"}


def test_settings_that_came_later_leave_old_rows_current():
    host, plain = tiny_host(), Settings()
    assert not {"class_pictures", "bare_pictures"} & set(plain.facts())
    assert cell_key(cell(), host, Settings(class_pictures=2)) != cell_key(cell(), host, plain)


def test_class_pictures_tell_what_became_of_the_class():
    row = compute(cell("lora", **TINY), tiny_host(), Settings(steps=1, images_per_prompt=2, class_pictures=2)).row
    assert set(row["sets"]) == {"div", "pres", "class_div"}
    assert row["sets"]["div"] > 0 and -1 <= row["sets"]["pres"] <= 1


def test_pictures_of_the_bare_phrase_tell_what_came_along_of_the_references_backgrounds():
    host = tiny_host()
    concept = dataclasses.replace(host.concepts[0], training_backgrounds=("beach",))
    host = dataclasses.replace(host, concepts=(concept,))
    settings = Settings(steps=1, images_per_prompt=1, bare_pictures=2, class_pictures=2)
    row = compute(cell("lora", **TINY), host, settings).row
    assert 0 <= row["sets"]["leak"] <= 1 and "pres" in row["sets"] and len(row["scores"]) == len(PROMPTS)
    assert row["learn_cpu_seconds"] > 0


def test_real_images_are_scored_against_each_other_alone():
    row = compute(cell("real-images"), tiny_host(), Settings()).row
    assert len(row["scores"]) == 3 and "clip_t" not in row["scores"][0]
    assert max(score["dino_i"] for score in row["scores"]) < 1
