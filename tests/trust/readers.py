"""Every reader of the library under one name each, and a process that feeds them hostile files.

A reader gets a folder that holds one changed file, `name`; it may load it or raise a `PersonaError`.
"""

import json
import os
import random
import resource
import shutil
import signal
from pathlib import Path

import trust_jobs
from memory import peak_growth, resident
from mutations import mutant, traps

from diffusers_persona import Concept
from diffusers_persona.errors import PersonaError
from diffusers_persona.inversion.imagefolder import read_folder
from diffusers_persona.training import checkpoint
from diffusers_persona.training.run_folder import RUN_FILE, earlier_run

SECONDS, TIMES, FIXED = 5, 10, 24 << 20  # a read takes 5 s at most, and 10 times the file and 24 MB of memory


class TooSlow(BaseException):
    """Raised by the alarm; no reader's `except Exception` swallows it."""


def load_checkpoint(folder):
    """A checkpoint into a run like the one that wrote it."""
    parameters, optimizer = run_state()
    checkpoint.load(folder, parameters=parameters, states={}, optimizer=optimizer, average=None)


def run_state():
    """Parameters and the optimiser of a small run after one step."""
    import torch

    torch.manual_seed(0)
    parameters = {f"0.word.{i}": torch.nn.Parameter(torch.randn(4, 8)) for i in range(3)}
    optimizer = torch.optim.AdamW(parameters.values())
    sum(p.square().sum() for p in parameters.values()).backward()
    optimizer.step()
    return parameters, optimizer


def inspect(path):
    """What `persona inspect` does, the printing included."""
    from diffusers_persona.cli.inspect import inspect as command

    command(Path(path))


READERS = {
    "concept": (lambda folder, name: Concept.from_pretrained(folder), lambda folder, name: inspect(folder)),
    "weights": (
        lambda folder, name: inspect(folder / name),
        lambda folder, name: Concept.from_file(folder / name, token="<toy>"),
    ),
    "checkpoint": (lambda folder, name: load_checkpoint(folder),),
    "run": (lambda folder, name: earlier_run(folder / RUN_FILE),),
    "pictures": (lambda folder, name: read_folder(folder), lambda folder, name: inspect(folder)),
}


def exported(concept, folder):
    """The files of `concept` in every format that can hold it."""
    from diffusers_persona.formats.base import names_for
    from diffusers_persona.formats.registry import formats

    return [path for name in names_for(concept, formats()) for path in _export(concept, name, folder / name)]


def _export(concept, name, folder):
    folder.mkdir(parents=True)
    try:
        return [path for path in concept.export(name, folder) if path.suffix != ".json"]
    except PersonaError:  # a form that this one concept has not
        return []


def corpus(place: Path) -> list[tuple[str, Path, str]]:
    """(readers, folder, name of the file to change) of every sound file, made under `place`."""
    from PIL import Image

    found = []
    for recipe in trust_jobs.recipes():
        folder = place / recipe
        concept = trust_jobs.train(recipe, None, steps=2)
        concept.previews, concept.scores = [Image.new("RGB", (16, 16), "red")], {"fidelity": 0.5}
        concept.save_pretrained(folder)
        found += [("concept", folder, path.relative_to(folder).as_posix()) for path in sorted(folder.rglob("*.*"))]
        found += [("weights", folder, path.name) for path in sorted(folder.glob("*.safetensors"))]
        found += [("weights", path.parent, path.name) for path in exported(concept, place / "exported" / recipe)]
        found += [("concept", folder, "concept.json"), ("concept", folder, "concept.safetensors")] * 3
    run = place / "run"
    parameters, optimizer = run_state()
    record = {"losses": [0.5, 0.4], "seconds": 1.0}
    checkpoint.save(run, step=2, parameters=parameters, states={}, optimizer=optimizer, average=None, record=record)
    (run / RUN_FILE).write_text(json.dumps({"recipe": "lora", "numbers": {"steps": 2}, "images": [{"name": "a"}]}))
    found += [("checkpoint", run, checkpoint.FILE)] * 4 + [("run", run, RUN_FILE)] * 2
    pictures = place / "pictures"
    pictures.mkdir()
    Image.new("RGB", (16, 16), "blue").save(pictures / "1.png")
    (pictures / "1.txt").write_text("a blue toy")
    (pictures / "metadata.jsonl").write_text('{"file_name": "1.png", "text": "a toy", "mask": "1.png"}\n')
    found += [
        ("pictures", pictures, "metadata.jsonl"),
        ("pictures", pictures, "1.txt"),
        ("pictures", pictures, "1.png"),
    ]
    return [entry for entry in found if not entry[2].endswith(".md")]


def read(reader, folder, name) -> str | None:
    """What is wrong with how `reader` took the file; None for a load or a clean refusal."""

    def attempt():
        nonlocal fault
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            reader(folder, name)
        except PersonaError as error:
            if "\n" in str(error) or len(str(error)) > 2000:
                fault = f"an error of {len(str(error))} characters: {str(error)[:200]!r}"
        except SystemExit as error:
            fault = f"exit {error}"
        except TooSlow:
            fault = f"more than {SECONDS} s"
        except BaseException as error:
            fault = f"{type(error).__name__}: {str(error)[:150]}{_where(error)}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    fault = None
    size = (folder / name).stat().st_size
    grown = peak_growth(attempt)
    if fault is None and grown > TIMES * size + FIXED:
        fault = f"{grown >> 20} MB for a file of {size} bytes"
    return fault


def _where(error) -> str:
    import traceback

    own = [frame for frame in traceback.extract_tb(error.__traceback__) if "diffusers_persona" in frame.filename]
    return f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""


def _prepare():
    """No output, a limit on the address space, and the alarm."""
    from diffusers_persona.cli.console import tolerate_any_text

    tolerate_any_text()
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    most = resident("VmSize") + (2 << 30)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))

    def alarm(*_):
        raise TooSlow

    signal.signal(signal.SIGALRM, alarm)


def feed(pipe, entries, seed, count, scratch):
    """Feeds `count` mutants to their readers; sends the reads and (reader, file, number, what) of each fault."""
    _prepare()
    chance, outcomes, faults = random.Random(seed), 0, []
    for readers, folder, name in entries:  # the sound files first: what is loaded once does not count as theirs
        for reader in READERS[readers]:
            fault = read(reader, folder, name) if readers != "weights" else None
            if fault:
                faults.append((readers, name, "sound", fault))
    for number in range(count):
        readers, folder, name = chance.choice(entries)
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(folder, scratch, copy_function=os.link)
        (scratch / name).unlink()
        (scratch / name).write_bytes(mutant(chance, name, (folder / name).read_bytes()))
        if name.endswith(".safetensors") and readers == "concept" and chance.random() < 0.7:
            header = json.loads((scratch / "concept.json").read_text())
            header.pop("tensors_sha256", None)
            (scratch / "concept.json").unlink()
            (scratch / "concept.json").write_text(json.dumps(header))
        for reader in READERS[readers]:
            fault = read(reader, scratch, name)
            outcomes += 1
            if fault:
                faults.append((readers, name, number, fault))
    pipe.send((outcomes, faults))


def spring(pipe, place, canary):
    """Feeds every trap to every reader, alone and as a part of a concept's folder."""
    _prepare()
    faults, tried = [], 0
    for name, content in traps(canary).items():
        for folder in (place / "alone", place / "concept"):
            shutil.rmtree(folder, ignore_errors=True)
            if folder.name == "concept":
                shutil.copytree(place / "sound", folder)
                for target in ("concept.safetensors", "concept.json", "scores.json", checkpoint.FILE, RUN_FILE):
                    (folder / target).write_bytes(content)
            else:
                folder.mkdir()
            (folder / name).write_bytes(content)
            for readers in READERS:
                for reader in READERS[readers]:
                    tried += 1
                    fault = read(reader, folder, name)
                    if fault and not (readers == "checkpoint" and folder.name == "alone"):
                        faults.append((readers, name, folder.name, fault))
    pipe.send((tried, faults))
