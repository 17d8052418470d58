"""The wordings of prompts that name a concept, by what the concept is; ``{phrase}`` is its place."""

KINDS = ("object", "live", "person", "style")

_PHOTO_WORDS = ("", "good ", "cropped ", "close-up ")
_NEUTRAL_PHOTOS = tuple(f"a {word}photo of {article} {{phrase}}" for word in _PHOTO_WORDS for article in ("a", "the"))
_LIGHTS = ("a bright photo of the {phrase}", "a dark photo of the {phrase}")
_RENDITIONS = ("a rendition of a {phrase}", "a rendition of the {phrase}", "a rendering of a {phrase}")

OBJECT_TEMPLATES = (
    *_NEUTRAL_PHOTOS,
    *_LIGHTS,
    *_RENDITIONS,
    "the photo of a {phrase}",
    "a photo of my {phrase}",
    "a photo of one {phrase}",
    *(f"a photo of {words} {{phrase}}" for words in ("a clean", "the clean", "a dirty", "a cool", "the cool")),
    *(f"a photo of {words} {{phrase}}" for words in ("a nice", "the nice", "the weird", "a small", "the small")),
    "a photo of the large {phrase}",
)
"""The 27 neutral templates of Textual Inversion (arXiv 2208.01618) for objects, grouped by wording."""

LIVE_TEMPLATES = (
    *_NEUTRAL_PHOTOS,
    *_LIGHTS,
    *_RENDITIONS,
    "the photo of a {phrase}",
    "a photo of my {phrase}",
    "a photo of one {phrase}",
    "a picture of a {phrase}",
)
"""For animals and plants: the object templates without those that speak of dirt, size or strangeness, which a living
thing may really have. Our own choice."""

PERSON_TEMPLATES = (
    *_NEUTRAL_PHOTOS,
    *_LIGHTS,
    "a picture of a {phrase}",
    "a portrait of a {phrase}",
    "a portrait of the {phrase}",
    "a close-up portrait of a {phrase}",
    "a photo of the face of a {phrase}",
    "a photo of one {phrase}",
)
"""For people: photos and portraits, nothing that judges looks. Our own choice."""

_STYLE_WORDS = ("", "cropped ", "clean ", "dirty ", "dark ", "bright ", "cool ", "close-up ", "good ", "nice ")
STYLE_TEMPLATES = (
    *(f"a {words}painting in the style of {{phrase}}" for words in (*_STYLE_WORDS, "small ", "weird ", "large ")),
    "the painting in the style of {phrase}",
    "a picture in the style of {phrase}",
    "a rendering in the style of {phrase}",
    "a rendition in the style of {phrase}",
)
"""The 17 different style templates of Textual Inversion (arXiv 2208.01618)."""

TEMPLATES = {
    "object": OBJECT_TEMPLATES,
    "live": LIVE_TEMPLATES,
    "person": PERSON_TEMPLATES,
    "style": STYLE_TEMPLATES,
}


CONTEXTS = (
    *(f"a photo of {{phrase}} {place}" for place in ("on the beach", "in the forest", "in the snow", "in the city")),
    *(f"a photo of {{phrase}} {place}" for place in ("in the desert", "under the sea", "in a meadow", "at sunset")),
    *(f"a {style} of {{phrase}}" for style in ("painting", "sketch")),
    *(f"a {colour} {{phrase}}" for colour in ("red", "blue")),
    *(f"a photo of {{phrase}} {beside}" for beside in ("next to a tree", "on top of a chair", "and a cat")),
    "a photo of {phrase} wearing a hat",
)
"""Things that a concept's word may stand among, for losses on the words around it. Our own choice."""
