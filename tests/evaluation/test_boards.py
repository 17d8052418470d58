"""Which concepts a recipe is held to, and how several things are learned."""

import dataclasses

import pytest

import diffusers_persona as dp
from diffusers_persona import recipes, toybox
from diffusers_persona.errors import PersonaError
from diffusers_persona.evaluation import lessons, sweep
from diffusers_persona.evaluation.boards import BOARDS, board_name, board_of, concepts_of, order
from diffusers_persona.recipe import LEARNS

ENTRY = recipes.get("lora")
PAIR = toybox.concept("hedgehog-and-cupcake")


def entry(**facts):
    return dataclasses.replace(ENTRY, **facts)


def test_there_is_a_board_of_four_shipped_concepts_for_each_thing_to_learn_from():
    assert set(BOARDS) == set(LEARNS)
    for board, names in BOARDS.items():
        kinds = {toybox.concept(name).kind for name in names}
        assert len(names) >= 4 and kinds <= ({"object", "live"} if board == "object" else {board})


@pytest.mark.parametrize("each", recipes.list(), ids=lambda each: each.id)
def test_every_recipe_has_a_board(each):
    assert len(concepts_of(board_name(each))) >= 4


def test_a_one_shot_recipe_gets_one_picture_each():
    assert board_name(entry(pictures=1)) == "object@1"
    assert concepts_of("person@1")[0] == "diana-evans@1" and board_of("diana-evans@1") == "person@1"
    assert board_name(entry(learns="pair", pictures=2)) == "pair"
    assert order(["person@1", "object", "person"]) == ["object", "person", "person@1"]


@pytest.mark.parametrize("board", ["animals", "pair@1", "object@", "object@none"])
def test_unknown_boards_are_refused(board):
    if board == "object@":
        assert concepts_of(board) == BOARDS["object"]
        return
    with pytest.raises(PersonaError, match="there is no board"):
        concepts_of(board)


@pytest.mark.parametrize(
    ("facts", "message"),
    [({"learns": "songs"}, "learns='songs' is unknown"), ({"promise": (("nicer", "lora"),)}, "no \\(kind, recipe\\)")],
)
def test_a_recipe_cannot_state_facts_that_nobody_measures(facts, message):
    with pytest.raises(PersonaError, match=message):
        entry(**facts)


def test_each_recipe_runs_on_its_own_concepts_beside_the_reference_rows_of_all():
    cells = sweep.plan(["lora", "dreambooth"], {"lora": ["a"], "dreambooth": ["b"]}, [0], {}, ("base", "oracle"))
    assert [(cell.recipe, cell.concept) for cell in cells] == [
        ("oracle", "a"), ("oracle", "b"), ("base", "a"), ("lora", "a"), ("base", "b"), ("dreambooth", "b")
    ]  # fmt: skip


def test_a_method_for_one_thing_learns_several_one_after_the_other_from_the_same_pictures():
    declared = ENTRY.build()
    assert not lessons.at_once(declared, PAIR)
    first, second = lessons.lessons_of(PAIR)
    assert (first.noun, second.noun) == ("animal", "food") and first.references == PAIR.references
    together = dataclasses.replace(declared, data=dataclasses.replace(declared.data, parts=True))
    assert lessons.at_once(together, PAIR)


def test_what_is_merged_is_learned_part_by_part_whatever_the_recipe():
    concept = toybox.concept("ufo-with-mosaic")
    declared = ENTRY.build()
    together = dataclasses.replace(declared, data=dataclasses.replace(declared.data, parts=True))
    assert not lessons.at_once(together, concept)
    assert [part.name for part in lessons.lessons_of(concept)] == ["ufo", "mosaic"]


def test_a_recipe_that_learns_by_captions_gets_them_with_the_nouns_in_place():
    data = dp.inversion.Data(prompts=dp.inversion.prompts.Captions())
    declared = dataclasses.replace(ENTRY.build(), data=data)
    pictures = lessons.pictures_of(PAIR, declared)
    assert pictures[0].caption == "an animal next to a food on the beach"
    assert lessons.pictures_of(toybox.concept("behind"), declared)[0].caption == "a cat {} a car on the beach"
    assert lessons.pictures_of(PAIR, ENTRY.build()) == PAIR.references
