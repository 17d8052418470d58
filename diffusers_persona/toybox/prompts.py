"""ToyBench's prompts: what a learned concept is asked to do, by kind, in settings that its references never show."""

from dataclasses import dataclass

from diffusers_persona.errors import PersonaError

REFERENCE_BACKGROUNDS = ("beach", "blue", "forest", "white", "room")
"""Where the reference pictures of every shipped concept were taken; no prompt uses one of them."""


@dataclass(frozen=True, kw_only=True)
class BenchPrompt:
    """One prompt. `template` holds `{}` once, for the concept's phrase; the rest says what a good picture shows."""

    template: str
    background: str
    style: str | None = None
    noun: str | None = None
    second_noun: str | None = None
    attribute: str | None = None

    def format(self, phrase: str) -> str:
        """The prompt for a concept's phrase, e.g. `"<toy>"` or `"sks animal"`."""
        return self.template.format(phrase)


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
_PROMPTS = {"object": _OBJECTS, "live": _OBJECTS, "person": _PEOPLE, "style": _STYLES, "relation": _RELATIONS}


def for_kind(kind: str) -> list[BenchPrompt]:
    """The prompts of a concept's kind: object, live, person, style or relation."""
    if kind not in _PROMPTS:
        raise PersonaError(f"ToyBench has no prompts for kind {kind!r}; choose one of {', '.join(_PROMPTS)}")
    return list(_PROMPTS[kind])
