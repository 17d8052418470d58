"""From the Hub: only what is needed, any revision, from the cache when offline, and nothing half-written."""

import resource

import pytest
from loopback_hub import ANNA, BOB, READER

from diffusers_persona import Concept, PersonaError
from diffusers_persona.hub import pull

STRANGERS = ("pytorch_model.bin", ".gitattributes", "unet/weights.safetensors", "old/concept.json")


@pytest.fixture
def published(hub, toy):
    """The repository ``anna/toy`` on the Hub, and an empty record of requests."""
    hub.add("anna/toy", toy.contents(repo="anna/toy") | dict.fromkeys(STRANGERS, b"not of the concept"))
    return hub


def read(name="anna/toy", **options):
    return Concept.from_pretrained(name, **options)


def test_a_concept_is_read_from_its_repository_and_only_the_files_that_matter(published, toy):
    concept = read()
    assert (concept.digest, concept.header) == (toy.digest, toy.header) and len(concept.previews) == 2
    fetched = {path.split("/resolve/")[1].split("/", 1)[1] for route, path, _ in published.requests if route == "file"}
    assert fetched == {"concept.json", "concept.safetensors", "previews/00.png", "previews/01.png"}


def test_a_branch_a_tag_and_a_commit_are_revisions(published, other):
    repo = published.repos["anna/toy"]
    first = repo.branches["main"]
    repo.tags["v1"] = first
    repo.commit("v2", other.contents(), "another")
    assert read(revision="v2").header["recipe"] == "lora"
    assert read(revision="v1").header["recipe"] == read(revision=first).header["recipe"] == "textual-inversion"
    with pytest.raises(PersonaError, match="no such revision"):
        read(revision="v3")


def test_a_moved_branch_is_followed(published, other):
    assert read().header["recipe"] == "textual-inversion"
    published.repos["anna/toy"].commit("main", other.contents(), "another")
    assert read().header["recipe"] == "lora"


@pytest.mark.parametrize("token", [None, BOB], ids=["nobody", "somebody else"])
def test_a_private_repository_is_as_good_as_missing_without_its_owners_token(published, token):
    published.repos["anna/toy"].private = True
    with pytest.raises(PersonaError, match="no such repository, or a private one: .*hf auth login"):
        read(token=token)
    assert read(token=READER).token == "<toy>"


def test_a_gated_repository_says_where_to_ask(published):
    published.repos["anna/toy"].gated = True
    with pytest.raises(PersonaError, match="gated: ask for access"):
        read(token=BOB)


def test_a_wrong_token_and_a_repository_that_holds_no_concept_get_one_line(published):
    published.add("bob/model", {"model_index.json": b"{}"})
    for name, options, hint in [
        ("anna/toy", {"token": "hf_wrong_token"}, "does not know this token"),
        ("bob/model", {}, "bob/model: the repository holds no concept.json"),
        ("bob/nothing", {}, "no such repository"),
    ]:
        with pytest.raises(PersonaError, match=hint) as caught:
            read(name, **options)
        assert "\n" not in str(caught.value)


def test_offline_it_comes_from_the_cache_and_what_is_not_there_says_so(published, toy, monkeypatch):
    read()
    published.requests.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert read().digest == toy.digest and not published.requests
    for missing in ({"name": "anna/other"}, {"revision": "v2"}):
        with pytest.raises(PersonaError, match="offline mode is on .HF_HUB_OFFLINE"):
            read(**missing)


def test_a_hub_that_cannot_be_reached_is_replaced_by_the_cache(published, toy, monkeypatch):
    read()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert read().digest == toy.digest
    with pytest.raises(PersonaError, match="anna/other: .*connection to .* failed .ConnectError.: check the network"):
        read("anna/other")


def test_a_connection_cut_in_the_middle_of_a_file_is_taken_up_again(published, toy, quick):
    published.fail("file", "cut", times=2)
    assert read().digest == toy.digest


@pytest.mark.parametrize("how", ["cut", "drop", 503])
def test_a_broken_download_leaves_a_cache_that_still_works(published, toy, quick, how):
    published.fail("file", how)
    with pytest.raises(PersonaError, match="anna/toy: no such folder, and not read from the Hub: ") as caught:
        read()
    assert "\n" not in str(caught.value)
    published.failures.clear()
    assert read().digest == toy.digest


def test_a_file_that_arrives_falsified_is_fetched_again(published, toy):
    published.fail("file", "flip", times=2)
    assert read().digest == toy.digest
    published.requests.clear()
    assert read().digest == toy.digest and "file" not in {route for route, *_ in published.requests}


def test_a_repository_whose_files_do_not_belong_together_is_refused(published, other):
    repo = published.repos["anna/toy"]
    repo.commit("main", repo.files() | {"concept.safetensors": other.contents()["concept.safetensors"]}, "mixed")
    with pytest.raises(PersonaError, match="the tensors are not those of concept.json"):
        read()


@pytest.mark.parametrize("place", ["cache", "folder"])
def test_a_full_disk_is_named_and_leaves_no_folder(published, tmp_path, place):
    read()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(PersonaError, match="cannot be written .File too large.[:;] free space") as caught:
            pull("anna/toy", tmp_path / "copy", cache_dir=tmp_path / "other cache" if place == "cache" else None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "copy" / "concept.json").exists()


def test_a_cache_that_cannot_be_written_is_named(published, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(PersonaError, match="cannot be written .Not a directory.: free space, or set HF_HOME"):
        read(cache_dir=tmp_path / "file" / "cache")


def test_pull_copies_the_concept_byte_for_byte_and_nothing_else(published, toy, tmp_path):
    folder = pull("anna/toy", tmp_path / "copy")
    copied = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    there = published.repos["anna/toy"].files()
    assert copied == {name: content for name, content in there.items() if name not in STRANGERS}
    assert Concept.from_pretrained(folder).digest == toy.digest


def test_pull_overwrites_nothing(published, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "concept.json").write_text("my own")
    with pytest.raises(PersonaError, match="there is something already; name a new folder"):
        pull("anna/toy", tmp_path / "mine")
    assert not published.requests


def test_what_was_pushed_is_what_is_read(hub, toy):
    toy.scores = {"CLIP-I": 0.81, "note": "Toybox metrics"}
    toy.push_to_hub("anna/round", token=ANNA)
    back = read("anna/round")
    assert (back.digest, back.header, back.scores) == (toy.digest, toy.header, toy.scores)
