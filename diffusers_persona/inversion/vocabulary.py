"""Lists of English words that methods ask for."""

PREPOSITIONS = tuple(
    "aboard about above across after against along alongside amid amidst among amongst anti around astride at atop "
    "before behind below beneath beside between beyond by down following from in including inside into near of off "
    "on onto opposite out outside over past regarding round through throughout to toward towards under underneath "
    "up upon versus with within".split()
)
"""The 56 relation words of ReVersion (arXiv 2303.13495)."""

FUNCTION_WORDS = tuple(
    "a an the this that these those some any each every both either neither no none such same other another i me my "
    "mine myself you your yours he him his she her hers it its itself we us our ours they them their theirs who "
    "whom whose which what where when why how there here am is are was were be been being do does did done have has "
    "had having can could may might must shall should will would and or but nor so yet if than then as because "
    "while until though although since unless not only own too very just also again once ever never now more most "
    "less least few many much".split()
)
"""Articles, pronouns, auxiliaries, conjunctions and the commonest adverbs: words that name nothing. Our own list."""

COLOUR_WORDS = tuple(
    "red orange yellow green blue purple pink brown black white gray silver gold golden turquoise violet beige "
    "cream crimson navy teal maroon".split()
)
"""Words along one attribute axis, colour; for other axes a caller gives words of his own. Our own list."""

OBJECT_WORDS = tuple(
    "animal bear bee bird boar buffalo bull bunny butterfly camel cat chicken cow crab crow deer dinosaur dog "
    "dolphin donkey dragon duck eagle elephant fish flamingo fox frog giraffe goat goose gorilla hamster hedgehog "
    "hen hippo horse insect kangaroo kitten koala ladybug lamb leopard lion lizard lobster monkey mouse octopus "
    "otter owl ox panda parrot peacock penguin pig pigeon pony puppy rabbit raccoon rat rhino rooster seal shark "
    "sheep sloth snail snake spider squid squirrel swan tiger turkey turtle unicorn whale wolf worm zebra apple "
    "avocado banana bean berry bread burger cabbage cake candy carrot cheese cherry chocolate coconut cookie corn "
    "croissant cupcake donut egg food fruit garlic grape lemon lime lollipop mango melon mushroom nut onion orange "
    "pancake pasta peach pear pepper pie pineapple pizza potato pumpkin rice salad sandwich soup strawberry taco "
    "tomato vegetable watermelon aircraft airplane ambulance balloon bicycle bike boat bus canoe car carriage cart "
    "helicopter motorcycle plane rocket sailboat scooter ship skateboard submarine taxi tractor train tram truck "
    "ufo van vehicle wagon yacht anchor backpack bag ball barrel basket bed bell belt bench book boot bottle bowl "
    "box bracelet broom brush bucket button camera candle cane cap card chair chest clock coat coin computer couch "
    "crown cup curtain desk diamond doll door dress drum extinguisher fan figurine flag flute fork frame gem glass "
    "glasses globe glove guitar hammer hat headphones helmet jacket jar jewel key keyboard kite knife lamp lantern "
    "laptop magnet mask medal microphone microscope mirror mug necklace needle notebook pan paper pen pencil phone "
    "piano picture pillow pipe plate pot purse radio ring robot rope rug sandal saxophone scarf scissors screen "
    "shell shield shirt shoe shovel skirt sock sofa spoon statue stool suit suitcase sword table teapot teddy "
    "telescope tie tool torch towel toy trophy trumpet umbrella vase violin wallet watch wheel whistle yoyo bush "
    "cactus clover flower forest grass leaf lily palm plant rose sunflower tree tulip wood arch bridge building "
    "cabin castle church circus cottage factory fountain gate house hut lighthouse mill palace pyramid school store "
    "temple tent tower wall windmill baby boy child girl king man people person queen woman".split()
)
"""Names of things that a picture may show, to describe an object by. Our own list."""
