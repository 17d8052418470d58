"""Real captioned pictures of each class word, for prior preservation with a real prior set (Custom Diffusion)."""

import json
import random
import shutil
from pathlib import Path

from diffusers_persona.errors import PersonaError

FOLDER = Path(__file__).parent / "class_pictures"
COUNT = 16


def class_pictures(noun: str) -> Path:
    """The folder of real pictures of a class word ("animal", "woman", ...), with their captions in `metadata.jsonl`.

    Raises:
        PersonaError: for a word that is no class word of the world.
    """
    if not (FOLDER / noun / "metadata.jsonl").is_file():
        known = ", ".join(sorted(path.parent.name for path in FOLDER.glob("*/metadata.jsonl")))
        raise PersonaError(f"the Toybox has no pictures of the class {noun!r}; it has: {known}")
    return FOLDER / noun


def build_class_pictures(world, folder: Path = FOLDER) -> None:
    """Render `COUNT` pictures of training nouns and nameless people for each class word below `folder`."""
    from .vocabulary import CLASS_WORDS, COLOURS, NOUNS, SCENES, an, place

    shutil.rmtree(folder, ignore_errors=True)
    backgrounds = [*SCENES, *COLOURS]
    for word in (*CLASS_WORDS, "woman", "man"):
        rng = random.Random(word)
        members = [noun for noun, kind in NOUNS.items() if kind == word] or [word]
        (folder / word).mkdir(parents=True)
        lines = []
        for n in range(COUNT):
            caption = f"{an(members[n % len(members)])} {place(rng.choice(backgrounds))}"
            name = f"{n:02d}.png"
            world.render(caption, seed=3000 + n).image.save(folder / word / name)
            lines.append(json.dumps({"file_name": name, "text": caption}))
        (folder / word / "metadata.jsonl").write_text("\n".join(lines) + "\n")
