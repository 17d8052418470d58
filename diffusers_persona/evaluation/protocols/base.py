"""The declaration of a protocol, and what its readers share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from diffusers_persona.errors import PersonaError

from ..subjects import Subject

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A benchmark of the literature.

    Attributes:
        id: the word on the command line.
        title: how papers call it.
        paper: where it is defined.
        source: where to get the data, and its licence.
        read: folder of the data -> subjects with their references and prompts; nothing in it is executed.
        images_per_prompt, steps, guidance: how the paper generates, for bases of full size.
        headline: the metrics of fidelity and obedience that its tables are sorted and judged by.
    """

    id: str
    title: str
    paper: str
    source: str
    read: Callable[[Path], tuple[Subject, ...]]
    images_per_prompt: int
    steps: int
    guidance: float
    headline: tuple[str, str] = ("dino_i", "clip_t")

    @property
    def slug(self) -> str:
        """The name of its files: `dreambench++` -> `dreambench-plus`."""
        return self.id.replace("++", "-plus")

    def subjects(self, data: Path | None) -> tuple[Subject, ...]:
        """The subjects of a copy of the data on disk.

        Raises:
            PersonaError: there is no such folder, or it holds something else; one line with where to get the data.
        """
        if data is None or not Path(data).is_dir():
            where = "give --data DIR" if data is None else f"--data {data} is no folder"
            raise PersonaError(f"{self.title} is not shipped: {where}; {self.source}")
        found = self.read(Path(data))
        if not found:
            raise PersonaError(f"{data} holds no subject of {self.title}; {self.source}")
        return found


def pictures(folder: Path) -> tuple[Path, ...]:
    """The picture files right inside a folder, by name."""
    if not folder.is_dir():
        return ()
    return tuple(sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES))


def text(path: Path) -> str:
    """The text of a file.

    Raises:
        PersonaError: it is missing or is no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise PersonaError(f"{path}: {reason}; the benchmark needs this file") from None


def lines(path: Path) -> list[str]:
    """The lines of a text file that say something, stripped."""
    return [line.strip() for line in text(path).splitlines() if line.strip()]
