"""A learning folder as the internet fills it: every picture is used, or named and left out, or refused."""

import os
import random
import socket
import warnings
from pathlib import Path

import pytest
import trust_jobs
from inversion.hostile import ACCEPTED, REFUSED, picture
from memory import peak_growth
from mutations import BLIND
from PIL import Image

from diffusers_persona.errors import PersonaError
from diffusers_persona.inversion.images import load_images

MOST_MEMORY = 700 << 20  # a sound picture at the limit of 128 megapixels takes about 500 MB


def no_files(folder):
    """Names that end like a picture's and are none: pipe, socket, device, loops, folder, a file of 1 TB of nothing."""
    os.mkfifo(folder / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(folder)
        server.bind("socket.jpg")
        os.chdir(here)
    (folder / "endless.png").symlink_to("/dev/zero")
    (folder / "loop-a.png").symlink_to(folder / "loop-b.png")
    (folder / "loop-b.png").symlink_to(folder / "loop-a.png")
    (folder / "self.jpg").symlink_to(folder)
    (folder / "folder.png").mkdir()
    with open(folder / "sparse.png", "wb") as file:
        file.truncate(1 << 40)
    Image.new("RGB", (30_000, 16), "red").save(folder / "30000.png")
    Image.new("RGB", (12, 30_000), "red").save(folder / "tall.jpg")


def fill(folder: Path, count: int) -> int:
    """At least `count` hostile pictures in `folder`; the rest of the list is made by changing the bytes of others."""
    for write, _ in (*ACCEPTED.values(), *REFUSED.values()):
        write(folder)
    no_files(folder)
    chance, number = random.Random(0), len(os.listdir(folder))
    formats = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
    modes = ("RGB", "L", "RGB")
    while number < count:
        name = folder / f"changed{number:03d}.{chance.choice(formats).lower()}"
        picture((96, 64)).convert(chance.choice(modes)).save(name, format=chance.choice(formats[:2] + formats[3:]))
        name.write_bytes(chance.choice(BLIND)(chance, name.read_bytes()))
        number += 1
    return number


def load_all(pipe, folder):
    """Loads the folder in a process of its own; sends the counts and the growth of memory."""
    warnings.simplefilter("ignore")
    found = []
    grown = peak_growth(lambda: found.append(load_images(folder, on_error="skip", resolution=64)))
    pipe.send((len(found[0]), len(found[0].skipped), list(found[0].skipped), grown))


def learn_from(pipe, folder, options):
    """Learns from the folder; sends the digest or the error's line."""
    import diffusers_persona as dp

    warnings.simplefilter("ignore")
    try:
        concept = dp.learn(
            trust_jobs.pipeline("sd"), folder, "textual-inversion", noun="dog", steps=1, progress=False, **options
        )
        pipe.send(("digest", concept.digest))
    except PersonaError as error:
        pipe.send(("refused", str(error)))


@pytest.mark.promise
def test_a_folder_of_hostile_pictures_never_ends_in_a_stack_trace(tmp_path, soak):
    """Hostile pictures in a learning folder (cut short, bombs, pipes, devices, link loops, wrong names, odd modes) are
    used, or named and left out, or refused by name in one line; memory stays below 700 MB."""
    (tmp_path / "pictures").mkdir()
    folder = tmp_path / "pictures"
    wanted = soak(110, 200, of="hostile pictures")
    assert fill(folder, wanted) >= wanted
    used, skipped, lines, grown = trust_jobs.call(load_all, folder)
    assert used >= len(ACCEPTED) and skipped >= len(REFUSED)
    assert all("\n" not in str(line) for line in lines)
    assert grown < MOST_MEMORY, grown >> 20
    kind, words = trust_jobs.call(learn_from, folder, {})
    assert kind == "refused" and "\n" not in words and any(name in words for name in os.listdir(folder))
    kind, words = trust_jobs.call(learn_from, folder, {"on_image_error": "skip"})
    assert kind == "digest", words
