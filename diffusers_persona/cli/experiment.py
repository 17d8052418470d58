"""Learn with several recipes, generate the same prompts from the same noise, and measure: for `compare` and `demo`."""

import dataclasses
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from .console import say, table
from .pictures import fill, generate

COLUMNS = ("dino_i_masked", "id", "recognised", "clip_i", "obedience", "clip_t")


@dataclasses.dataclass(kw_only=True)
class Contender:
    """One row of a comparison: `pictures[i]` belong to prompt i; `scores` are means over all of them."""

    name: str
    pictures: list[list[Image.Image]]
    concept: Any = None
    seconds: float | None = None
    size: int | None = None
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name and cost, for the row of a grid."""
        if self.seconds is None:
            return self.name
        return f"{self.name}\n{self.seconds:.0f} s, {_size(self.size or 0)}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """How every row's pictures are made."""

    count: int = 1
    seed: int = 0
    steps: int = 25
    guidance: float | None = None


def base_row(pipe: Any, noun: str, prompts: Sequence[Any], sampling: Sampling) -> Contender:
    """The unpersonalised model, asked for the class noun instead of the concept."""
    from diffusers_persona.evaluation.metrics import class_prompt

    texts = [class_prompt(prompt.template, noun) for prompt in prompts]
    return Contender(name="base model", pictures=generate(pipe, texts, label="base", **dataclasses.asdict(sampling)))


def copy_paste_row(references: Sequence[Image.Image], prompts: Sequence[Any]) -> Contender:
    """The lazy answer: a reference picture, whatever the prompt says."""
    return Contender(name="copy-paste", pictures=[[references[i % len(references)]] for i in range(len(prompts))])


def learned_row(
    pipe: Any,
    images: Any,
    recipe: str,
    prompts: Sequence[Any],
    sampling: Sampling,
    *,
    output: Path | None = None,
    numbers: Mapping[str, Any] | None = None,
    **options: Any,
) -> Contender:
    """Learn with one recipe, then generate with the concept attached.

    Args:
        pipe: a stock pipeline; it comes back as it was.
        images: what `learn` takes.
        recipe: its id.
        prompts: what to generate.
        sampling: how.
        output: folder for the concept; none is kept when left out.
        numbers: the recipe's numbers.
        options: `noun`, `kind`, `seed`, `templates`, ... for `learn`.
    """
    from diffusers_persona.training.learn import learn

    say(f"learning with [bold]{recipe}[/]")
    start = time.perf_counter()
    concept = learn(pipe, images, recipe, **options, **(numbers or {}))
    seconds = time.perf_counter() - start
    texts = [fill(prompt.template, [concept.phrase]) for prompt in prompts]
    with concept.attach(pipe):
        pictures = generate(pipe, texts, label=recipe, **dataclasses.asdict(sampling))
    return Contender(
        name=recipe, pictures=pictures, concept=concept, seconds=seconds, size=_saved_size(concept, output)
    )


def measure(
    contenders: Sequence[Contender], references: Sequence[Image.Image], prompts: Sequence[Any], subject: Any
) -> None:
    """Score every row with the Toybox's instruments, against the references and the prompts (in place)."""
    from diffusers_persona.evaluation.host import classifier_label, toybox_expectation
    from diffusers_persona.evaluation.scorer import Scorer
    from diffusers_persona.toybox import instruments

    judge = instruments.load()
    scorer = Scorer(judge, references, kind=subject.kind, label=classifier_label(judge, subject, references))
    expectations = [toybox_expectation(subject, prompt) for prompt in prompts]
    for contender in contenders:
        rows = scorer.score_prompts(contender.pictures, expectations)
        names = dict.fromkeys(name for row in rows for name in row if name not in ("prompt", "image"))
        found = {name: [row[name] for row in rows if name in row] for name in names}
        contender.scores = {name: sum(values) / len(values) for name, values in found.items()}


def print_table(contenders: Sequence[Contender]) -> None:
    """Rows on stdout: fidelity, obedience, learning time and size."""
    from diffusers_persona.evaluation.summary import METRICS

    metrics = [name for name in COLUMNS if any(name in contender.scores for contender in contenders)]
    columns = ["", *(METRICS[name] for name in metrics), "learning", "artifact"]
    rows = [
        [
            contender.name,
            *(f"{contender.scores[name]:.3f}" if name in contender.scores else "" for name in metrics),
            "" if contender.seconds is None else f"{contender.seconds:.0f} s",
            "" if contender.size is None else _size(contender.size),
        ]
        for contender in contenders
    ]
    table(None, columns, rows, right=columns[1:])


def grid_rows(
    references: Sequence[Image.Image], contenders: Sequence[Contender]
) -> list[tuple[str, list[Image.Image]]]:
    """Rows for `labelled_grid`: the references, then the first picture of each prompt (never the best one)."""
    shown = [(contender.label, [pictures[0] for pictures in contender.pictures]) for contender in contenders]
    return [("learned from these", list(references)), *shown]


def varied(prompts: Sequence[Any], each: int) -> list[int]:
    """Indices of `each` prompts that ask for a place, a style and another object; more places where others lack."""
    kinds: dict[str, list[int]] = {"place": [], "style": [], "object": []}
    for index, prompt in enumerate(prompts):
        kinds["style" if prompt.style else "object" if prompt.second_noun else "place"].append(index)
    others = [*kinds["style"][:each], *kinds["object"][:each]]
    return [*kinds["place"][: 3 * each - len(others)], *others]


def _saved_size(concept: Any, output: Path | None) -> int:
    if output is not None:
        concept.save_pretrained(output)
        return (output / "concept.safetensors").stat().st_size
    with tempfile.TemporaryDirectory() as folder:
        return _saved_size(concept, Path(folder))


def _size(count: int) -> str:
    from diffusers_persona.evaluation.tables import size

    return size(count)
