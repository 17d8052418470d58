"""What the processes of the trust tests do, and how they start: forked from a server that has everything loaded."""

import functools
import hashlib
import multiprocessing
import os
import resource
import signal
from multiprocessing import forkserver
from pathlib import Path

import diffusers_persona as dp
from diffusers_persona.errors import PersonaError
from diffusers_persona.recipe import get
from diffusers_persona.testing import one_a_space, short_lesson, tiny_pictures, tiny_pipeline

LIMIT_SECONDS = 600  # of any one job; a shared machine may be slow
SMALL = {"steps": 8}
PLAIN = ("textual-inversion", "lora", "dreambooth", "custom-diffusion")


def recipes() -> list[str]:
    """The plain recipes, and one for each other combination of spaces."""
    return [*PLAIN, *(recipe for recipe in one_a_space() if recipe not in PLAIN)]


@functools.cache
def pipeline(family):
    """One tiny pipeline a process."""
    return tiny_pipeline(family)


@functools.cache
def context():
    """The fork server's context. The server, started here, finds this folder through the environment alone."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["warm"])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *filter(None, [before])])
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before
    return found


def start(job, *arguments):
    """A running process of `job(connection, *arguments)` and our end of the pipe."""
    ours, theirs = context().Pipe()
    process = context().Process(target=job, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def finish(process, pipe):
    """What the process sent last, or None when it ended without a word."""
    answer = None
    try:
        while pipe.poll(LIMIT_SECONDS):
            answer = pipe.recv()
    except EOFError:
        process.join()
        return answer
    process.kill()
    raise TimeoutError(f"a process took more than {LIMIT_SECONDS} s; it said {answer} last")


def call(job, *arguments):
    """The last answer of `job` in a process of its own."""
    return finish(*start(job, *arguments))


def train(recipe, folder, **options):
    """A short run of `recipe` on the tiny pipeline; options of `learn` go before the defaults."""
    options = {"checkpoint_every": 1, **SMALL, **options}
    known = {"checkpoint_every", "seed", "token", "resume", *get(recipe).defaults}
    options = {name: value for name, value in options.items() if name in known}
    return dp.learn(pipeline("sd"), **short_lesson(recipe, pictures=tiny_pictures(3), output=folder, **options))


def learn(pipe, recipe, folder, cache, options=None):
    """Learns, going on where an earlier run stopped; sends "started", then the concept's digest or the error."""
    os.environ["PERSONA_CACHE"] = str(cache)
    pipe.send("started")
    try:
        pipe.send(("digest", train(recipe, folder, resume=True, **(options or {})).digest))
    except PersonaError as error:
        pipe.send(("refused", str(error)))


def learn_as_nobody(pipe, recipe, folder, cache):
    """`learn` without the rights of the superuser, to whom a read-only folder is none."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    learn(pipe, recipe, folder, cache)


def learn_with_little_room(pipe, recipe, folder, cache, most_bytes):
    """`learn` where the kernel lets no file grow beyond `most_bytes`."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    learn(pipe, recipe, folder, cache)


def files(folder) -> dict[str, str]:
    """Digest of each file of a folder by name."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }
