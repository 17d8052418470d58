"""The words of the miniature world: what can be drawn, what training sees, and what is held out of it.

Nouns map to `(icon, class word)`, where the icon is a name in the npm package `@iconify-json/fluent-emoji-flat`.
"""

_TRAINING = {
    "animal": "cat:cat-face dog:dog-face elephant giraffe lion panda fox frog monkey:monkey-face penguin owl turtle "
    "fish:tropical-fish shark octopus crab snail butterfly ladybug:lady-beetle rabbit:rabbit-face zebra unicorn",
    "food": "apple:red-apple banana strawberry watermelon pineapple carrot mushroom burger:hamburger pizza "
    "donut:doughnut cake:birthday-cake",
    "vehicle": "car:automobile bus train:locomotive bicycle plane:airplane helicopter rocket boat:sailboat",
    "thing": "cup:hot-beverage teapot chair clock:alarm-clock key book:closed-book umbrella crown guitar drum camera "
    "hat:top-hat bucket bell",
    "toy": "balloon ball:soccer-ball teddy:teddy-bear robot kite",
    "plant": "tree:deciduous-tree palm:palm-tree cactus sunflower rose",
    "building": "house castle tent",
}
_HELD_OUT = {
    "animal": "hedgehog otter raccoon sloth hippo:hippopotamus deer dinosaur:sauropod lobster squid poodle peacock "
    "llama flamingo gorilla camel kangaroo",
    "food": "avocado cupcake taco croissant lollipop eggplant",
    "vehicle": "motorcycle ufo:flying-saucer scooter:motor-scooter ambulance tram ship",
    "thing": "pumpkin:jack-o-lantern saxophone microscope boot:hiking-boot purse extinguisher:fire-extinguisher "
    "anchor diamond:gem-stone magnet",
    "toy": "doll:nesting-dolls skateboard yoyo:yo-yo snowman",
    "plant": "tulip clover:four-leaf-clover",
    "building": "church circus:circus-tent",
}


def _nouns(groups: dict[str, str]) -> dict[str, tuple[str, str]]:
    entries = [(word.partition(":"), kind) for kind, words in groups.items() for word in words.split()]
    return {name: (icon or name, kind) for (name, _, icon), kind in entries}


ICONS = {name: icon for name, (icon, _) in (_nouns(_TRAINING) | _nouns(_HELD_OUT)).items()}
NOUNS = {name: kind for name, (_, kind) in _nouns(_TRAINING).items()}
"""Training nouns -> class word."""
HELD_OUT_NOUNS = {name: kind for name, (_, kind) in _nouns(_HELD_OUT).items()}
"""Nouns that training never draws or names -> class word that the model knows."""
CLASS_WORDS = tuple(_TRAINING)

SCENES = {
    "beach": "on the beach",
    "forest": "in the forest",
    "snow": "in the snow",
    "city": "in the city",
    "space": "in space",
    "desert": "in the desert",
    "sea": "under the sea",
    "meadow": "in a meadow",
    "room": "in a room",
    "sunset": "at sunset",
}
"""Scene -> the phrase that places something in it."""

COLOURS = {
    "red": (222, 50, 45),
    "orange": (245, 140, 30),
    "yellow": (250, 214, 50),
    "green": (60, 165, 75),
    "blue": (50, 105, 225),
    "purple": (140, 75, 200),
    "pink": (248, 140, 190),
    "brown": (135, 85, 50),
    "black": (38, 38, 44),
    "white": (246, 246, 246),
    "gray": (150, 152, 158),
}
"""Colour -> sRGB, 0-255."""

STYLES = ("pixel art", "sketch", "painting", "neon")
HELD_OUT_STYLES = ("blueprint", "mosaic")
RELATIONS = ("next to", "and", "on top of", "in front of")
HELD_OUT_RELATIONS = ("inside", "under", "behind")
UNSEEN_STYLES = ("sepia", "screen")
UNSEEN_RELATIONS = ("right of", "above")
"""Held out of every model, the instruments' among them."""
SIZES = ("small", "big")

PERSON_WORDS = ("woman", "man", "person")
HAIR_COLOURS = ("black", "brown", "blond", "red", "gray", "blue", "green", "pink", "purple")
MOUTHS = ("smiling", "surprised")
EYES = ("glasses", "sunglasses")
HATS = ("cap", "beanie")

_WOMEN = (
    "Anna Smith, Bella Jones, Carol Taylor, Diana Evans, Emma Wilson, Fiona Davis, Grace Thomson, Hanna Roberts, "
    "Irene Walker, Julia Wright, Karen Robinson, Laura Hughes, Maria Edwards, Nora Hall, Olivia Harris, Paula Lewis, "
    "Queenie Martinez, Rita Jackson, Sofia Clarke, Tina Turner, Uma Scott, Vera Cooper, Wendy Morris, Xenia Ward, "
    "Yara Moore, Zoe Watson, Alice Baker, Betty Harrison, Clara Morgan, Doris Patel"
)
_MEN = (
    "Adam Young, Boris Allen, Carl Mitchell, David James, Eric Anderson, Frank Phillips, George Lee, Henry Parker, "
    "Ivan Davies, Jack Bennett, Kevin Miller, Leo Shaw, Martin Cox, Nick Richards, Oscar Murphy, Peter Bailey, "
    "Quentin Kelly, Robert Collins, Simon Carter, Thomas Mason, Ulrich Palmer, Victor Rogers, Walter Lloyd, "
    "Xavier Hunt, Yuri Holmes, Zack Mills, Alan Foster, Bruno Barnes, Chris Murray, Daniel Simpson"
)
_NAMES = dict.fromkeys(_WOMEN.split(", "), "woman") | dict.fromkeys(_MEN.split(", "), "man")
HELD_OUT_PEOPLE = {name: word for index, (name, word) in enumerate(_NAMES.items()) if index % 6 == 3}
"""Full names that training never draws or names -> "woman" or "man"."""
PEOPLE = {name: word for name, word in _NAMES.items() if name not in HELD_OUT_PEOPLE}
"""Full names of training -> "woman" or "man"."""

CAPTION_WORDS = "a an the of photo picture next to and on top in front inside under behind with wearing hair beard"
SPARE_WORDS = "sks hta zwx ktn pll ucd ohwx zqv"
"""Words without meaning: the model has a token for each and never saw it."""
TEMPLATE_WORDS = (
    "photo picture image drawing rendition rendering depiction cropped close up dark bright clean dirty cool weird "
    "large nice good bad blurry portrait new old my one this that many itself style painting object face background "
    "in at by from with without for is his her holding eating two three same"
)


def an(phrase: str) -> str:
    """`phrase` with its indefinite article."""
    return ("an " if phrase[0] in "aeio" or phrase.startswith("umb") else "a ") + phrase


def place(background: str) -> str:
    """The phrase of a scene or colour, e.g. "on the beach" or "on a red background"."""
    return SCENES.get(background) or f"on {an(background)} background"
