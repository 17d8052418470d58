"""A protocol of the literature, or a folder of one's own, run on a base model: rows, then a page."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffusers_persona.errors import PersonaError

from . import fid, protocol_page
from .executors import Executor
from .host import Host
from .making import Settings
from .protocols import protocol
from .rows import RowStore
from .sweep import Report, Sweep, choose, opened_host, plan
from .worlds import World


def run(
    world: World,
    recipes: Sequence[str],
    subjects: Sequence[str] | None = None,
    seeds: Iterable[int] = (0,),
    *,
    kinds: Sequence[str] = (),
    settings: Settings,
    output: Path,
    docs: Path | None = Path("docs"),
    pictures: Path | None = None,
    real: Path | None = None,
    inception: Path | None = None,
    numbers_overrides: Mapping[str, Mapping[str, Any]] | None = None,
    executor: Executor | None = None,
    resume: bool = True,
    report: Report = print,
) -> list[dict[str, Any]]:
    """Computes the cells that have no finished row, then writes the page.

    Args:
        world: protocol, base model and instruments.
        recipes: recipe ids; real-images, base and copy-paste rows are always added.
        subjects, kinds: names and kinds of subjects; None and () take all.
        seeds: seeds of learning and of the sampler's noise.
        settings: how pictures are made.
        output: folder of the rows. docs: folder of the page `<protocol>.md` and its grid; None writes none.
        pictures: folder that keeps the pictures: the page gets a grid of them.
        real: folder of real pictures of the class, for FID; needs `pictures`.
        inception: weights of FID's network; without them its features are those of the DINO model.
        numbers_overrides: recipe id -> numbers in place of the recipe's own.
        executor: where cells are computed; None takes this process.
        resume: False computes every cell again.
        report: gets one line a finished cell.

    Returns:
        the rows of the asked cells, the reference rows included.

    Raises:
        PersonaError: missing data, unknown names, at once; cells that failed, after all others are done.
    """
    declared = protocol(world.protocol)
    if real is not None and pictures is None:
        raise PersonaError("--real needs --pictures DIR: FID is computed from the pictures that are kept there")
    if inception is not None and real is None:
        raise PersonaError("--inception needs --real DIR: FID compares with real pictures")
    opened = opened_host(world)
    features = _features(opened, inception) if real else None
    overrides = {name: dict(numbers) for name, numbers in (numbers_overrides or {}).items()}
    cells = plan(recipes, choose(opened, subjects, kinds), seeds, overrides, opened.reference_rows)
    sweep = Sweep(host=world, settings=settings, output=output, pictures=pictures, resume=resume, title=declared.title)
    try:
        return sweep.run(cells, executor, report)
    finally:
        rows = protocol_page.current(RowStore(output).rows())
        if pictures and real and rows:
            made = [
                name for name in {row["recipe"]: None for row in rows} if name not in ("real-images", "copy-paste")
            ]
            fid.record(made, pictures, real, features, output)
        if docs is not None and rows:
            protocol_page.write(declared, rows, docs, output=output, pictures=pictures, concepts=opened.concepts)


def _features(host: Host, inception: Path | None) -> Any:
    if inception is None:
        return fid.DinoFeatures(host.instruments)
    from .inception import InceptionFeatures

    return InceptionFeatures(inception)
