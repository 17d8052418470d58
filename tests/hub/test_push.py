"""To the Hub: one commit, whole or not at all, byte for byte, and nobody's face without consent."""

import json
import threading

import pytest
import torch
from huggingface_hub import ModelCard
from loopback_hub import ANNA, BOB, READER

from diffusers_persona import Concept, PersonaError


def bytes_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_push_is_one_commit(hub, toy):
    url = toy.push_to_hub("anna/toy", token=ANNA)
    assert hub.repos["anna/toy"].messages == ["initial commit", "Concept <toy> with textual-inversion"]
    assert url == f"{hub.url}/anna/toy/commit/{hub.repos['anna/toy'].branches['main']}"
    assert [route for route, *_ in hub.requests].count("commit") == 1


def test_a_saved_folder_arrives_byte_for_byte_but_for_the_card_that_names_the_repository(hub, folders, toy):
    toy.push_to_hub("anna/toy", token=ANNA)
    local, there = bytes_of(folders / "toy"), dict(hub.repos["anna/toy"].files())
    del there[".gitattributes"]
    card = there.pop("README.md").decode()
    assert local.pop("README.md").decode().replace("PATH_OR_REPO", "anna/toy") == card
    assert there == local
    assert {"concept.json", "concept.safetensors", "previews/00.png", "learned_embeds.safetensors"} <= set(there)


def test_the_card_on_the_hub_has_what_the_hub_reads(hub, toy):
    toy.scores = {"CLIP-I": 0.81}
    toy.push_to_hub("anna/toy", token=ANNA)
    card = ModelCard(hub.repos["anna/toy"].files()["README.md"].decode())
    assert card.data.library_name == "diffusers" and card.data.license == "cc-by-4.0"
    assert card.data.pipeline_tag == "text-to-image" and card.data.instance_prompt == "a <toy>"
    assert [entry["output"]["url"] for entry in card.data.widget] == ["previews/00.png", "previews/01.png"]
    assert 'load_textual_inversion("anna/toy"' in card.text and "| CLIP-I | 0.81 |" in card.text


def test_pushing_the_same_again_makes_no_commit(hub, toy):
    first = toy.push_to_hub("anna/toy", token=ANNA)
    assert toy.push_to_hub("anna/toy", token=ANNA) == first
    assert len(hub.repos["anna/toy"].messages) == 2


def test_a_later_push_leaves_nothing_of_the_earlier_concept_but_what_others_put_there(hub, toy, other):
    toy.push_to_hub("anna/toy", token=ANNA)
    repo = hub.repos["anna/toy"]
    repo.commit("main", repo.files() | {"notes.txt": b"mine", "unet/own.safetensors": b"mine too"}, "by hand")
    other.push_to_hub("anna/toy", token=ANNA)
    names = set(repo.files())
    assert not names & {"learned_embeds.safetensors", "previews/01.png"}
    assert {"notes.txt", "unet/own.safetensors", "pytorch_lora_weights.safetensors", "previews/00.png"} <= names
    assert repo.messages[-1] == "Concept sks toy with lora" or len(repo.messages) == 4


def test_a_branch_is_made_and_the_main_one_stays(hub, toy, other):
    toy.push_to_hub("anna/toy", token=ANNA)
    other.push_to_hub("anna/toy", revision="v2", token=ANNA)
    repo = hub.repos["anna/toy"]
    assert json.loads(repo.files("main")["concept.json"])["recipe"] == "textual-inversion"
    assert json.loads(repo.files("v2")["concept.json"])["recipe"] == "lora"
    assert 'from_pretrained("anna/toy", revision="v2")' in repo.files("v2")["README.md"].decode()


def test_a_tag_or_a_commit_is_not_pushed_to(hub, toy):
    toy.push_to_hub("anna/toy", token=ANNA)
    repo = hub.repos["anna/toy"]
    repo.tags["v1"] = repo.branches["main"]
    for name in ("v1", repo.branches["main"]):
        with pytest.raises(PersonaError, match="push to a branch"):
            toy.push_to_hub("anna/toy", revision=name, token=ANNA)


def test_private_makes_a_private_repository_and_never_writes_to_a_public_one(hub, toy):
    toy.push_to_hub("anna/secret", private=True, token=ANNA)
    assert hub.repos["anna/secret"].private
    toy.push_to_hub("anna/open", token=ANNA)
    commits = len(hub.repos["anna/open"].messages)
    with pytest.raises(PersonaError, match="the repository is public already"):
        toy.push_to_hub("anna/open", private=True, revision="new", token=ANNA)
    assert len(hub.repos["anna/open"].messages) == commits and set(hub.repos["anna/open"].branches) == {"main"}


@pytest.mark.parametrize("facts", [{"kind": "person"}, {"noun": "old woman"}, {"real_person": True}], ids=str)
def test_a_person_is_published_only_with_consent_which_header_and_card_then_state(hub, toy, facts):
    toy.header |= facts
    with pytest.raises(PersonaError, match="--i-have-consent"):
        toy.push_to_hub("anna/friend", token=ANNA)
    assert not hub.requests
    toy.push_to_hub("anna/friend", token=ANNA, consent=True)
    files = hub.repos["anna/friend"].files()
    header = json.loads(files["concept.json"])
    assert header["consent_to_publish"] is True and "every person shown agreed" in header["consent"]
    assert "shows a person" in files["README.md"].decode() and "person shown agreed" in files["README.md"].decode()
    assert "consent_to_publish" not in toy.header


def test_a_concept_that_could_not_be_read_again_is_not_pushed(hub, toy):
    next(iter(toy.tensors.values()))[0, 0] = torch.nan
    with pytest.raises(PersonaError, match="not finite"):
        toy.push_to_hub("anna/toy", token=ANNA)
    assert not hub.requests


def test_a_damaged_folder_is_not_pushed(hub, folders, tmp_path):
    import shutil

    shutil.copytree(folders / "toy", tmp_path / "toy")
    path = tmp_path / "toy" / "concept.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(PersonaError, match="damaged file"):
        Concept.from_pretrained(tmp_path / "toy").push_to_hub("anna/toy", token=ANNA)
    assert not hub.requests


@pytest.mark.parametrize("route", ["create", "yaml", "info", "preupload", "batch", "upload", "commit"])
def test_a_connection_dropped_at_any_request_publishes_nothing(hub, toy, quick, route):
    hub.fail(route)
    with pytest.raises(PersonaError, match="anna/toy: not published: the connection to .* failed") as caught:
        toy.push_to_hub("anna/toy", token=ANNA)
    assert "\n" not in str(caught.value)
    assert all(repo.messages == ["initial commit"] for repo in hub.repos.values())
    hub.failures.clear()
    toy.push_to_hub("anna/toy", token=ANNA)
    assert len(hub.repos["anna/toy"].messages) == 2


@pytest.mark.parametrize(("route", "how"), [("upload", "drop"), ("commit", "drop"), ("commit", "cut")])
def test_a_request_or_an_answer_that_is_lost_once_costs_no_commit_and_makes_no_second_one(hub, toy, quick, route, how):
    hub.fail(route, how, times=1)
    url = toy.push_to_hub("anna/toy", token=ANNA)
    assert len(hub.repos["anna/toy"].messages) == 2 and url.endswith(hub.repos["anna/toy"].branches["main"])


@pytest.mark.parametrize(
    ("status", "hint"), [(429, "wait a few minutes"), (500, "the Hub has trouble"), (413, "too large"), (418, "418")]
)
def test_a_refusal_at_the_end_publishes_nothing(hub, toy, status, hint):
    hub.fail("commit", status)
    with pytest.raises(PersonaError, match=hint):
        toy.push_to_hub("anna/toy", token=ANNA)
    assert hub.repos["anna/toy"].messages == ["initial commit"]


MISTAKES = {
    "no token": ("anna/toy", None, "log in with `hf auth login`"),
    "a wrong token": ("anna/toy", "hf_nobodys_token", "does not know this token"),
    "a broken token": ("anna/toy", "hf_annas_secret\n_token", "characters that do not belong there"),
    "a token that only reads": ("anna/toy", READER, "lacks the right"),
    "somebody else's name": ("anna/toy", BOB, "lacks the right"),
    "no user name": ("toy", ANNA, "user name before a slash"),
    "a wrong name": ("anna/to--y", ANNA, "not a repository id"),
}


@pytest.mark.parametrize(("repo", "token", "hint"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gets_one_line_with_the_next_step(hub, toy, repo, token, hint):
    with pytest.raises(PersonaError, match=hint) as caught:
        toy.push_to_hub(repo, token=token)
    assert "\n" not in str(caught.value) and repo in str(caught.value) or token is None
    assert not hub.repos


def test_offline_nothing_is_pushed(hub, toy, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PersonaError, match="offline mode is on"):
        toy.push_to_hub("anna/toy", token=ANNA)


def test_two_pushes_at_once_come_one_after_the_other(hub, toy, other):
    start = threading.Barrier(2)

    def push(concept):
        start.wait()
        concept.push_to_hub("anna/both", token=ANNA)

    threads = [threading.Thread(target=push, args=(concept,)) for concept in (toy, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    repo = hub.repos["anna/both"]
    assert len(repo.messages) == 3
    expected = {"lora": other, "textual-inversion": toy}[json.loads(repo.files()["concept.json"])["recipe"]]
    names = {*expected.contents(repo="anna/both"), ".gitattributes"}
    assert set(repo.files()) == names


def test_a_push_on_top_of_somebody_elses_commit_starts_again_from_what_is_there_now(hub, toy):
    landed = []

    def another_commit_lands():
        if not landed:
            repo = hub.repos["anna/toy"]
            landed.append(repo.commit("main", repo.files() | {"previews/99.png": b"old"}, "in between"))

    hub.before_commit = another_commit_lands
    toy.push_to_hub("anna/toy", token=ANNA)
    assert "previews/99.png" not in hub.repos["anna/toy"].files()
    assert len(hub.repos["anna/toy"].messages) == 3
