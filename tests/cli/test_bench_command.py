"""`persona bench`: a folder of one's own and a published layout, end to end on a tiny model; mistakes are one line."""

import json

import pytest

from diffusers_persona.testing import tiny_pictures

QUICK = ("--recipes", "lora", "textual-inversion", "--set", "steps=1", "--steps", 1, "--images-per-prompt", 2)
QUICK = (*QUICK, "--prompts", 2, "--device", "cpu")


@pytest.fixture
def subjects(tmp_path):
    """A folder with two subjects, laid out as DreamBench's, which is also a folder of one's own."""
    home = tmp_path / "shelf"
    for seed, name in enumerate(("cup", "rex")):
        (home / name).mkdir(parents=True)
        for i, picture in enumerate(tiny_pictures(2, seed=seed)):
            picture.save(home / name / f"{i}.png")
    template = "'a {{0}} {{1}} {}'.format(unique_token, class_token),\n"
    lists = "".join(template.format(place) for place in ("at sea", "at home", "in bed"))
    (home / "prompts_and_classes.txt").write_text(
        f"cup,bowl\nrex,dog\n\nObject Prompts\n{lists}\nLive Subject Prompts\n{lists}"
    )
    return home


def rows(folder):
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def test_a_published_benchmark_from_data_to_page(persona, base, subjects, tmp_path):
    words = ("bench", "dreambench", "--data", subjects, "--base", base, *QUICK, "--class-pictures", 2)
    words = (*words, "--pictures", "pictures", "--real", subjects, "--subjects", "rex")
    code, out, err = persona(*words)
    assert code == 0, err
    assert out.strip() == "docs/dreambench.md"
    page = (tmp_path / "docs/dreambench.md").read_text()
    assert page.startswith("# DreamBench, scored by the Toybox's instruments (1 subject")
    for part in ("*real-images*", "*copy-paste*", "all pairs", "paired", "PRES", "## FID", "toybox/dino", "bicubic"):
        assert part in page
    assert (tmp_path / "docs/images/dreambench.png").is_file()
    found = {row["recipe"]: row for row in rows(tmp_path / "benchmarks/dreambench")}
    assert set(found) == {"real-images", "base", "copy-paste", "lora", "textual-inversion"}
    assert found["lora"]["prompts"] == ["a {} at sea", "a {} at home"]
    assert {"clip_i_paired", "dino_i_paired", "dino_i", "clip_t"} <= set(found["lora"]["scores"][0])
    _, _, err = persona(*words)
    assert err[0] == "DreamBench: 5 cells, 5 finished before, 0 to do"


def test_a_folder_of_ones_own_pictures(persona, base, subjects, tmp_path):
    """Their pictures stand above the grid, and everything is written beside each other."""
    code, out, err = persona("bench", subjects, "--base", base, *QUICK, "--noun", "toy", "--pictures", "kept")
    assert code == 0, err
    assert out.strip() == "bench-shelf/folder.md"
    assert (tmp_path / "bench-shelf/images/folder.png").is_file()
    assert {row["noun"] for row in rows(tmp_path / "bench-shelf/rows")} == {"toy"}
    assert {row["concept"] for row in rows(tmp_path / "bench-shelf/rows")} == {"cup", "rex"}


def test_pairs_are_learned_one_by_one_and_used_together(persona, base, subjects, tmp_path):
    def entry(noun, name):
        return {"class_prompt": noun, "instance_data_dir": name}

    pair = [entry("bowl", "cup"), entry("bowl", "rex"), {"prompt_filename_compose": "both.txt"}]
    (subjects / "dataset_multiconcept.json").write_text(json.dumps([pair]))
    (subjects / "both.txt").write_text("the {1} on the {0}\nthe {0} and {1}\n")
    code, _, err = persona("bench", "customconcept101-pairs", "--data", subjects, "--base", base, *QUICK)
    assert code == 0, err
    found = {row["recipe"]: row for row in rows(tmp_path / "benchmarks/customconcept101-pairs")}
    assert found["lora"]["concept"] == "cup+rex"
    assert len(found["lora"]["scores"]) == 4 and len(found["real-images"]["scores"]) == 4


MISTAKES = {
    "no such benchmark": (("dreambnech",), "choose one of toybench"),
    "no data": (("dreambench",), "is not shipped: give --data DIR; take the folder dataset/"),
    "no such subject": (("{data}", "--subjects", "max"), "no concept 'max': choose from cup, rex"),
    "no such recipe": (("{data}", "--recipes", "lorra"), "did you mean lora"),
    "no such kind": (("{data}", "--kinds", "style"), "no concept of kind 'style'"),
    "half of the instruments": (("{data}", "--clip", "x"), "--clip and --dino go together"),
    "no such preference model": (("{data}", "--reward", "x"), "no preference model is called 'x'"),
    "FID without pictures": (("{data}", "--real", "{data}"), "--real needs --pictures"),
    "noun of a published benchmark": (("dreambench", "--data", "{data}", "--noun", "dog"), "names its subjects"),
    "data for ToyBench": (("toybench", "--data", "{data}"), "--data is not for toybench"),
    "device for ToyBench": (("toybench", "--device", "cpu"), "--device is not for toybench"),
    "no such executor": (("{data}", "--executor", "slurm"), "local, processes, ray"),
}


@pytest.mark.parametrize(("words", "hint"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_before_anything_is_computed(persona, base, subjects, words, hint, tmp_path):
    chosen = () if words[0] == "toybench" else ("--base", base)
    code, out, err = persona("bench", *(subjects if word == "{data}" else word for word in words), *chosen)
    assert (code, out) == (2, "")
    assert len(err) == 1 and hint in err[0]
    assert not (tmp_path / "benchmarks").exists() and not (tmp_path / "bench-shelf").exists()


@pytest.mark.parametrize(
    "words",
    [("--seeds", "0", "1", "--recipes", "a", "b"), ("--seeds", "0,1", "--recipes", "a,b"), ("--seeds", "0", ",1")],
)
def test_lists_take_spaces_or_commas(words):
    from typer.main import get_command

    from diffusers_persona.cli.app import app

    context = get_command(app).commands["bench"].make_context("bench", ["toybench", *words])
    assert context.params["what"] == "toybench"
    assert context.params["seeds"].replace(",,", ",") == "0,1"
    assert context.params["recipes"] in ("all", "a,b")


def test_a_preference_model_scores_every_picture_and_is_named(persona, base, subjects, tmp_path, monkeypatch):
    """A package that offers one by entry point, on the path as an installed one is."""
    package = tmp_path / "site" / "brightness-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: brightness\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[diffusers_persona.rewards]\nbrightness = brightness_reward:load\n")
    code = "def load():\n    return lambda images, texts: [len(text) / 99 for text in texts]\n"
    (tmp_path / "site" / "brightness_reward.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    words = (
        "--base",
        base,
        "--recipes",
        "lora",
        "--set",
        "steps=1",
        "--steps",
        1,
        "--prompts",
        1,
        "--subjects",
        "cup",
    )
    code, _, err = persona("bench", subjects, *words, "--reward", "brightness", "--device", "cpu")
    assert code == 0, err
    found = {row["recipe"]: row for row in rows(tmp_path / "bench-shelf/rows")}
    assert 0 <= found["lora"]["scores"][0]["reward"] <= 1
    page = (tmp_path / "bench-shelf/folder.md").read_text()
    assert "| reward | brightness |" in page


def test_boards_are_groups_of_concepts_of_toybench_alone(persona, base, subjects):
    for words, message in (
        (("bench", subjects, "--base", base, *QUICK, "--boards", "person"), "--boards is for toybench"),
        (("bench", "toybench", "--recipes", "lora", "--boards", "ghosts"), "there is no board 'ghosts'"),
        (("bench", "toybench", "--boards", "person", "--concepts", "ufo"), "both choose concepts"),
    ):
        code, out, err = persona(*words)
        assert code == 2 and not out and message in " ".join(err)
