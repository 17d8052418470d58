"""Killed, out of disk, locked out, twice at once: nothing that was learned is lost, and the user is told."""

import os
import random
import shutil
import signal
import time

import pytest
import trust_jobs
from trust_jobs import call, finish, start

import diffusers_persona as dp
from diffusers_persona.training import checkpoint

RECIPES = trust_jobs.recipes()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """undisturbed(recipe) -> (digest of the concept, seconds) of a run that nobody killed."""
    known = {}

    def measure(recipe):
        if recipe not in known:
            folder = tmp_path_factory.mktemp("undisturbed")
            process, pipe = start(trust_jobs.learn, recipe, folder / "run", folder / "cache")
            assert pipe.recv() == "started"
            began = time.monotonic()
            kind, digest = finish(process, pipe)
            assert kind == "digest", digest
            known[recipe] = (digest, time.monotonic() - began)
        return known[recipe]

    return measure


def kill_while_writing(process, folder, file, limit=30.0):
    """Kills a process in the moment in which `file` is being written in `folder`."""
    began = time.monotonic()
    while time.monotonic() - began < limit and process.is_alive():
        if folder.exists() and any(name.startswith(f".{file}.") for name in os.listdir(folder)):
            os.kill(process.pid, signal.SIGKILL)
            return


def killed(recipe, folder, cache, moment) -> bool:
    """Runs and kills after `moment` seconds, or in the middle of writing the file `moment`; whether in time."""
    process, pipe = start(trust_jobs.learn, recipe, folder, cache)
    assert pipe.recv() == "started"
    if isinstance(moment, str):
        kill_while_writing(process, folder, moment)
    else:
        process.join(moment)
        os.kill(process.pid, signal.SIGKILL) if process.is_alive() else None
    answer = finish(process, pipe)
    assert answer is None or answer[0] == "digest", answer
    return process.exitcode == -signal.SIGKILL


@pytest.mark.promise
def test_a_run_that_is_killed_goes_on_to_the_same_bytes(undisturbed, tmp_path, soak):
    """A learning run that is killed at any moment, also while it writes a checkpoint, goes on with `resume` and ends
    in the very concept that it would have reached undisturbed, bit for bit on a CPU."""
    wanted = soak(len(trust_jobs.PLAIN), 50, of="kills")
    chance, kills, run, written = random.Random(1), 0, 0, 0
    while kills < wanted:
        recipe = RECIPES[run % len(RECIPES)]
        digest, seconds = undisturbed(recipe)
        folder, cache = tmp_path / f"run{run}", tmp_path / f"cache{run}"
        for _ in range(chance.choice((1, 1, 2, 3))):
            writing = run % 2 == 0 and chance.choice((checkpoint.FILE, checkpoint.FILE, "concept.json", "run.json"))
            moment = writing or chance.uniform(0, seconds)
            hit = killed(recipe, folder, cache, moment)
            kills, written = kills + hit, written + (hit and (folder / checkpoint.FILE).exists())
        assert call(trust_jobs.learn, recipe, folder, cache) == ("digest", digest), (recipe, run)
        assert dp.Concept.from_pretrained(folder).digest == digest
        left = [name for name in os.listdir(folder) if name.endswith(".part") or name == checkpoint.FILE]
        assert not left, left
        shutil.rmtree(folder)
        run += 1
    assert written, "no kill left a checkpoint behind: the moments are badly chosen"


@pytest.mark.promise
def test_two_processes_do_not_learn_into_one_folder(tmp_path):
    """Of two processes that learn into one folder one is refused by name, and the other's concept is whole."""
    jobs = [start(trust_jobs.learn, RECIPES[0], tmp_path / "run", tmp_path / "cache", {"steps": 60}) for _ in range(2)]
    answers = sorted(finish(*job) for job in jobs)
    assert [kind for kind, _ in answers] == ["digest", "refused"]
    assert "another process is learning into this folder" in answers[1][1] and "\n" not in answers[1][1]
    assert dp.Concept.from_pretrained(tmp_path / "run").digest == answers[0][1]


@pytest.mark.promise
def test_a_full_disk_loses_nothing_and_is_named(undisturbed, tmp_path, soak):
    """When the disk is full the run stops with one line that names the file; what was written before stays readable,
    and with room again the run ends in the same bytes."""
    sizes = [1 << power for power in range(8, 21, 2)]
    cases = [(recipe, size) for size in sizes for recipe in RECIPES]
    refused = 0
    for number in range(soak(2, len(cases), of="sizes of disk")):
        recipe, size = cases[(number * 5 + 9) % len(cases)]
        folder, cache = tmp_path / f"full{number}", tmp_path / f"cache{number}"
        kind, words = call(trust_jobs.learn_with_little_room, recipe, folder, cache, size)
        if kind == "refused":
            refused += 1
            assert "cannot be written" in words and "free space" in words and "\n" not in words
        assert call(trust_jobs.learn, recipe, folder, cache) == ("digest", undisturbed(recipe)[0])
    assert refused


@pytest.mark.promise
def test_a_read_only_folder_is_refused_before_any_work(tmp_path):
    """A folder that cannot be written is refused in one line before any work, and what it holds stays as it is."""
    folder = tmp_path / "run"
    trust_jobs.train(RECIPES[0], folder)
    before = trust_jobs.files(folder)
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid() and not path.stat().st_mode & 0o001:
            path.chmod(path.stat().st_mode | 0o011)
    folder.chmod(0o555)
    (folder / ".lock").unlink(missing_ok=True)
    try:
        kind, words = call(trust_jobs.learn_as_nobody, RECIPES[0], folder, tmp_path / "cache")
    finally:
        folder.chmod(0o755)
    assert kind == "refused" and "cannot be written" in words and "\n" not in words
    before.pop(".lock", None)
    assert trust_jobs.files(folder) == before


@pytest.mark.promise
def test_an_older_concept_survives_a_save_that_fails(tmp_path):
    """A save over an older concept that breaks off for want of room, at whatever file, leaves a readable concept or
    says that the save was interrupted; nothing is mixed up in silence."""
    old = trust_jobs.train(RECIPES[0], tmp_path / "old", seed=1)
    new = trust_jobs.train(RECIPES[0], tmp_path / "new", seed=2)
    whole = max(path.stat().st_size for path in (tmp_path / "new").iterdir())
    for room in range(200, whole + whole // 6 + 2000, max(1, whole // 12)):
        old.save_pretrained(tmp_path / "both")
        kind, words = call(save_with_little_room, tmp_path / "new", tmp_path / "both", room)
        found = dp.Concept.from_pretrained(tmp_path / "both").digest
        assert found == (new.digest if kind == "saved" else old.digest), room
        assert kind == "saved" or "cannot be written" in words
    assert kind == "saved"


def save_with_little_room(pipe, source, target, most_bytes):
    import resource

    concept = dp.Concept.from_pretrained(source)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    try:
        concept.save_pretrained(target)
        pipe.send(("saved", ""))
    except dp.errors.PersonaError as error:
        pipe.send(("refused", str(error)))
