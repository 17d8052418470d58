"""Files of strangers: every reader loads them or refuses them in one line, and nothing in them ever runs."""

import pytest
import readers
import trust_jobs

BATCH = 500


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    return readers.corpus(tmp_path_factory.mktemp("sound"))


def report(faults) -> str:
    """Each kind of misbehaviour once."""
    kinds = {(reader, fault): (name, number) for reader, name, number, fault in faults}
    return "\n".join(f"{reader} {place}: {fault}" for (reader, fault), place in sorted(kinds.items(), key=str)[:40])


@pytest.mark.promise
def test_a_damaged_or_hostile_file_is_loaded_or_refused_in_one_line(entries, tmp_path, soak):
    """A damaged or forged file (concept, weights, checkpoint, run record, captions) is loaded or refused in one line;
    no reader crashes, takes over 5 seconds, or more memory than 10 times the file and 24 MB."""
    count, faults = soak(250, 5000, of="mutated files"), []
    for seed in range(0, count, BATCH):
        answer = trust_jobs.call(readers.feed, entries, seed, min(BATCH, count - seed), tmp_path / "scratch")
        assert answer is not None, f"the process died in batch {seed}"
        faults += answer[1]
    assert not faults, report(faults)


@pytest.mark.promise
def test_nothing_in_a_file_is_executed(entries, tmp_path):
    """Pickles that call functions, archives with paths that lead elsewhere and zip bombs are never obeyed, whatever
    they are called and wherever they lie."""
    import shutil

    shutil.copytree(next(folder for kind, folder, _ in entries if kind == "concept"), tmp_path / "sound")
    answer = trust_jobs.call(readers.spring, tmp_path, tmp_path / "canary")
    assert answer is not None, "the process died"
    tried, faults = answer
    assert tried > 500 and not faults, report(faults)
    assert not (tmp_path / "canary").exists()
