"""Any two concepts of any two spaces together: a matrix over all kinds of spaces there are."""

import numpy as np
import pytest
import torch

from diffusers_persona import Concept, PersonaError, inversion, learn, losses, recipes, schemes, spaces
from diffusers_persona.inversion import null_text as null_text_inversion
from diffusers_persona.recipe import Recipe
from diffusers_persona.testing import short_lesson, tiny_pictures, tiny_pipeline
from diffusers_persona.training.plan import several

KINDS = tuple(spaces.KINDS)
SAME_PLACE = ("null_text", "text_output")
"""Kinds that put something in the place of something: of two concepts only one can stand there."""
EARLY, LATE = 900, 100
"""Timesteps of the first and of the second half of denoising."""


@pytest.fixture(scope="module")
def pipe():
    pipe = tiny_pipeline("sd")
    yield pipe
    assert same(predicted(pipe), predicted(tiny_pipeline("sd"))), "something stayed behind"


@pytest.fixture(scope="module")
def matrix():
    """(first, second) -> what both together predict."""
    return {}


@pytest.fixture(scope="module")
def concept_of(pipe, tmp_path_factory):
    """concept_of(kind, number) -> a concept that lives in a space of that kind, learned in a step or two, once."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERSONA_CACHE", str(tmp_path_factory.mktemp("cache")))

        def concept_of(kind, number=0):
            if (kind, number) not in made:
                made[kind, number] = learned(pipe, kind, number)
            return made[kind, number]

        yield concept_of


def learned(pipe, kind, number):
    """By the recipe with the fewest spaces that has this one; by a recipe of its own where none has."""
    if kind == "null_text":
        return null_text(pipe, number)
    having = [entry for entry in recipes.list(backbone="sd") if kind in entry.space]
    if having:
        recipe = min(having, key=lambda entry: (len(entry.space), entry.id))
        declared, recipe = recipe.build(), recipe.id
    else:
        recipe = declared = Recipe(
            space=[spaces.KINDS[kind]()],
            method=inversion.Optimization(steps=2, lr=2e-2, batch_size=2, losses=[losses.Denoising()]),
            scheme=schemes.Prompting(),
            data=inversion.Data(prompts=inversion.prompts.Fixed("a {phrase}")),
        )
    together = several(declared)
    word = any(space.adds_token for space in declared.space)
    letters = f"{'abcdefghijklmnopqrstuvwxyz'[KINDS.index(kind) % 26]}{'xyz'[KINDS.index(kind) // 26]}{'pq'[number]}"
    tokens = [f"<{letters}-{part}>" for part in range(1 + together)] if word else ["sks", "ktn"][: 1 + together]
    return learn(pipe, **short_lesson(recipe, seed=number, token=" ".join(tokens)))


def null_text(pipe, number):
    """The null text of a picture is no recipe's."""
    found = null_text_inversion.invert(
        pipe, tiny_pictures(1, seed=number)[0], "a photo of cat", steps=1, inner_steps=2, lr=0.5
    )
    header = {"schema_version": 1, "recipe": "null-text", "token": "cat", "noun": "cat", "base_model": {}}
    header["spaces"] = [{"kind": "null_text"}]
    return Concept(header=header, tensors={f"0.null_text.{name}": tensor for name, tensor in found.tensors.items()})


def prompt_of(*concepts):
    return "a photo of " + " and ".join(concept.phrase for concept in concepts)


@torch.no_grad()
def predicted(pipe, prompt="a photo of cat", timestep=500):
    """What the denoiser predicts for the prompt and for the null text, from the same noise each time."""
    text = torch.cat(pipe.encode_prompt(prompt, "cpu", 1, True)[:2])
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0)).repeat(2, 1, 1, 1)
    return pipe.unet(noise, timestep, encoder_hidden_states=text).sample.numpy()


def same(first, second):
    return np.array_equal(first, second)


def acts(pipe, hold, prompt, whole):
    """Whether the concept makes a difference to what is predicted."""
    hold.scale = 0.0
    without = predicted(pipe, prompt)
    hold.scale = 1.0
    return not same(without, whole)


@pytest.mark.parametrize("kind", KINDS)
def test_any_two_spaces_compose(pipe, concept_of, kind, matrix):
    """Whichever comes first, both are at work and give the same; detaching leaves no trace."""
    problems, base = [], predicted(pipe)
    one = concept_of(kind)
    with one.attach(pipe) as first:
        for other in KINDS:
            two = concept_of(other, int(other == kind))
            prompt = prompt_of(*sorted((one, two), key=lambda concept: concept.digest))
            with two.attach(pipe) as second:
                both = matrix[kind, other] = predicted(pipe, prompt)
                acting = acts(pipe, second, prompt, both) if KINDS.index(other) >= KINDS.index(kind) else True
                if other == kind:
                    alone = acts(pipe, first, prompt, both)
                    acting = acting or alone if kind in SAME_PLACE else acting and alone
                if not acting:
                    problems.append(f"{other} does nothing after {kind}")
            if other != kind and (other, kind) in matrix and not same(both, matrix[other, kind]):
                problems.append(f"{kind} and {other}: the order of attaching matters")
    if not same(predicted(pipe), base):
        problems.append(f"{kind} left something behind")
    assert not problems


def test_the_first_may_go_before_the_second(pipe, concept_of):
    """Every concept at once; taken off first to last, the pipeline is as it was."""
    base, holds = predicted(pipe), [concept_of(kind).attach(pipe) for kind in KINDS]
    assert not same(predicted(pipe), base)
    for hold in holds:
        hold.detach()
    assert same(predicted(pipe), base)


@pytest.mark.parametrize("kind", KINDS)
def test_half_a_concept_is_neither_none_nor_all_of_it(pipe, concept_of, kind):
    concept, drawn = concept_of(kind), []
    with concept.attach(pipe) as hold:
        for hold.scale in (0.0, 0.5, 1.0):
            drawn.append(predicted(pipe, prompt_of(concept)))
    assert not same(drawn[0], drawn[1])
    assert not same(drawn[1], drawn[2])


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_limits_a_concept_in_time_or_is_refused_in_one_line(pipe, concept_of, kind):
    concept, companion = concept_of(kind), concept_of("low_rank", 1)
    with companion.attach(pipe):
        with concept.attach(pipe) as hold:
            early = predicted(pipe, prompt_of(concept), EARLY)
            hold.scale = 0.0
            late = predicted(pipe, prompt_of(concept), LATE)
        try:
            hold = concept.attach(pipe, window=(0.0, 0.5))
        except PersonaError as error:
            assert "window" in str(error) and "\n" not in str(error)
            return
        with hold:
            assert same(predicted(pipe, prompt_of(concept), EARLY), early)
            assert same(predicted(pipe, prompt_of(concept), LATE), late)
