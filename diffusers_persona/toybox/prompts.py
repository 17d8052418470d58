"""ToyBench's prompts: what a learned concept is asked to do, by kind, in settings that its references never show."""

from dataclasses import dataclass

from diffusers_persona.errors import PersonaError

REFERENCE_BACKGROUNDS = ("beach", "blue", "forest", "white", "room")
"""Where the reference pictures of every shipped concept were taken; no prompt uses one of them."""


@dataclass(frozen=True, kw_only=True)
class BenchPrompt:
    """One prompt. `template` holds `{}` once, for the concept's phrase, or `{0}` and `{1}` for those of its things.

    The rest says what a good picture shows; `things` the numbers of those things of the concept that it names.
    """

    template: str
    background: str
    style: str | None = None
    noun: str | None = None
    second_noun: str | None = None
    attribute: str | None = None
    things: tuple[int, ...] = (0,)

    def format(self, *phrases: str) -> str:
        """The prompt for a concept's phrase, e.g. `"<toy>"` or `"sks animal"`, or for the phrases of its things."""
        return self.template.format(*phrases)


_PLACES = (
    BenchPrompt(template="a {} in the snow", background="snow"),
    BenchPrompt(template="a {} in the city", background="city"),
    BenchPrompt(template="a {} in space", background="space"),
    BenchPrompt(template="a {} in the desert", background="desert"),
    BenchPrompt(template="a {} on a red background", background="red"),
    BenchPrompt(template="a {} on a yellow background", background="yellow"),
    BenchPrompt(template="a {} on a purple background", background="purple"),
)
_OBJECTS = (
    *_PLACES,
    BenchPrompt(template="a pixel art of a {} in a meadow", background="meadow", style="pixel art"),
    BenchPrompt(template="a neon of a {} in the city", background="city", style="neon"),
    BenchPrompt(template="a {} next to a ball on a green background", background="green", second_noun="ball"),
    BenchPrompt(template="a {} on top of a drum in the snow", background="snow", second_noun="drum"),
    BenchPrompt(template="a {} next to a cat at sunset", background="sunset", second_noun="cat"),
)
_PEOPLE = (
    *_PLACES,
    BenchPrompt(template="a pixel art of a {} in a meadow", background="meadow", style="pixel art"),
    BenchPrompt(template="a sketch of a {} in the city", background="city", style="sketch"),
    BenchPrompt(template="a {} wearing sunglasses on a green background", background="green", attribute="sunglasses"),
    BenchPrompt(template="a {} wearing glasses in the desert", background="desert", attribute="glasses"),
    BenchPrompt(template="a {} smiling at sunset", background="sunset", attribute="smiling"),
    BenchPrompt(template="a {} surprised on a gray background", background="gray", attribute="surprised"),
    BenchPrompt(template="a {} next to a cat in the snow", background="snow", second_noun="cat"),
)
_STYLES = tuple(
    BenchPrompt(template=f"a {{}} of a {noun} {words}", background=background, noun=noun)
    for noun, words, background in (
        ("cat", "in the snow", "snow"),
        ("car", "in the city", "city"),
        ("rocket", "in space", "space"),
        ("cactus", "in the desert", "desert"),
        ("elephant", "on a red background", "red"),
        ("shark", "on a yellow background", "yellow"),
        ("robot", "on a purple background", "purple"),
        ("castle", "at sunset", "sunset"),
        ("guitar", "on a green background", "green"),
        ("penguin", "in the snow", "snow"),
    )
)
_RELATIONS = tuple(
    BenchPrompt(template=f"a {noun} {{}} a {second} {words}", background=background, noun=noun, second_noun=second)
    for noun, second, words, background in (
        ("cat", "bucket", "in the snow", "snow"),
        ("ball", "car", "in the city", "city"),
        ("frog", "hat", "on a red background", "red"),
        ("apple", "teapot", "on a yellow background", "yellow"),
        ("robot", "house", "on a purple background", "purple"),
        ("crab", "boat", "in the desert", "desert"),
    )
)


def _of_things(*lines: tuple[str, str]) -> tuple[BenchPrompt, ...]:
    """Prompts from (template, background)s; which things they name is seen from their places."""
    prompts = []
    for template, background in lines:
        things = tuple(number for number in (0, 1) if f"{{{number}}}" in template)
        shown = template.partition("{1} of a ")[2].partition(" ")[0]
        noun = shown if shown and "{" not in shown else None
        prompts.append(BenchPrompt(template=template, background=background, noun=noun, things=things))
    return tuple(prompts)


_SEVERAL = _of_things(
    ("a {0} in the snow", "snow"),
    ("a {1} in the city", "city"),
    ("a {0} on a red background", "red"),
    ("a {1} on a purple background", "purple"),
    ("a {0} in the desert", "desert"),
    ("a {1} in space", "space"),
    ("a {0} next to a {1} at sunset", "sunset"),
    ("a {0} next to a {1} on a yellow background", "yellow"),
)
_STYLISED = _of_things(
    ("a {0} in the snow", "snow"),
    ("a {1} of a cat in the city", "city"),
    ("a {0} on a red background", "red"),
    ("a {1} of a rocket in space", "space"),
    ("a {0} in a meadow", "meadow"),
    ("a {1} of a castle at sunset", "sunset"),
    ("a {1} of a {0} in the desert", "desert"),
    ("a {1} of a {0} in the snow", "snow"),
)
_PAIRS = _of_things(
    ("a {1} of a rocket in space", "space"),
    ("a {1} of a cactus in the desert", "desert"),
    ("a {1} of a elephant on a red background", "red"),
    ("a {1} of a shark on a yellow background", "yellow"),
    ("a {1} of a robot on a purple background", "purple"),
    ("a {1} of a castle at sunset", "sunset"),
    ("a {1} of a penguin in the snow", "snow"),
    ("a {1} of a frog in a meadow", "meadow"),
)
_MERGED = _of_things(
    *(
        (f"a {{1}} of a {{0}} {words}", background)
        for words, background in (
            ("in the snow", "snow"),
            ("in the city", "city"),
            ("in space", "space"),
            ("in the desert", "desert"),
            ("at sunset", "sunset"),
            ("in a meadow", "meadow"),
        )
    ),
    ("a {0} in the city", "city"),
    ("a {1} of a cat in the snow", "snow"),
)
_PROMPTS = {
    "object": _OBJECTS,
    "live": _OBJECTS,
    "person": _PEOPLE,
    "style": _STYLES,
    "relation": _RELATIONS,
    "several": _SEVERAL,
    "stylised": _STYLISED,
    "pair": _PAIRS,
    "merged": _MERGED,
    "portrait": _MERGED,
}


def for_kind(kind: str) -> list[BenchPrompt]:
    """The prompts of a concept's kind; `held_out.KINDS` says what there is."""
    if kind not in _PROMPTS:
        raise PersonaError(f"ToyBench has no prompts for kind {kind!r}; choose one of {', '.join(_PROMPTS)}")
    return list(_PROMPTS[kind])
