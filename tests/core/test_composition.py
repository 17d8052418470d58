"""Any two concepts of any two spaces together: a matrix over all kinds of spaces there are."""

import numpy as np
import pytest
import torch

from diffusers_persona import Concept, PersonaError, inversion, learn, losses, recipes, schemes, spaces
from diffusers_persona.conformance import NOUN, NOUNS, _described, _short
from diffusers_persona.inversion import null_text as null_text_inversion
from diffusers_persona.recipe import Recipe
from diffusers_persona.testing import tiny_pictures, tiny_pipeline
from diffusers_persona.training.plan import several

KINDS = tuple(spaces.KINDS)


@pytest.fixture(scope="module")
def pipe():
    pipe = tiny_pipeline("sd")
    yield pipe
    assert np.array_equal(picture(pipe), picture(tiny_pipeline("sd"))), "something stayed behind"


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
        numbers = {"batch_size": 2, "prior_count": 2, "lr": 2e-2} | _short(recipe)
        numbers = {name: value for name, value in numbers.items() if name in recipe.defaults}
        declared, recipe = recipe.build(**numbers), recipe.id
    else:
        recipe = declared = Recipe(
            space=[spaces.KINDS[kind]()],
            method=inversion.Optimization(steps=2, lr=2e-2, batch_size=2, losses=[losses.Denoising()]),
            scheme=schemes.Prompting(),
            data=inversion.Data(prompts=inversion.prompts.Fixed("a {phrase}")),
        )
        numbers = {}
    together = several(declared)
    pictures = tiny_pictures(4, seed=number)
    if together or declared.data.needs:
        pictures = _described(pictures, parts=2 if together else 1)
    word = any(space.adds_token for space in declared.space)
    letters = f"{'abcdefghijklmnopqrstuvwxyz'[KINDS.index(kind) % 26]}{'xyz'[KINDS.index(kind) // 26]}{'pq'[number]}"
    tokens = [f"<{letters}-{part}>" for part in range(1 + together)] if word else ["sks", "ktn"][: 1 + together]
    options = {"token": " ".join(tokens), "noun": NOUNS if together else NOUN, "seed": number, "progress": False}
    return learn(pipe, pictures, recipe, **options, **numbers)


def null_text(pipe, number):
    """The null text of a picture is no recipe's; it is found for one prompt, "" or a negative one."""
    prompt = ("", "a dark photo")[number]
    found = null_text_inversion.invert(pipe, tiny_pictures(1)[0], "a photo of cat", steps=1, inner_steps=2, lr=0.5)
    header = {"schema_version": 1, "recipe": "null-text", "token": "cat", "noun": "cat", "base_model": {}}
    header["spaces"] = [{"kind": "null_text", "prompt": prompt}]
    return Concept(header=header, tensors={f"0.null_text.{name}": tensor for name, tensor in found.tensors.items()})


def picture(pipe, prompt="a photo of cat", steps=1, guidance=1.0):
    """Latents; with guidance the null text counts, too."""
    generator = torch.Generator().manual_seed(0)
    options = {"num_inference_steps": steps, "height": 32, "width": 32, "output_type": "latent"}
    options["guidance_scale"] = guidance
    return pipe(prompt, generator=generator, **options).images.numpy()


def same(first, second):
    return np.array_equal(first, second)


@pytest.mark.parametrize("kind", KINDS)
def test_any_two_spaces_compose(pipe, concept_of, kind):
    """Both are at work, whichever came first, and detaching in either order restores the pipeline."""
    base = picture(pipe)
    for other in KINDS[KINDS.index(kind) :]:
        one, two = concept_of(kind), concept_of(other, int(other == kind))
        prompt = f"a photo of {one.phrase} and {two.phrase}"
        first, second = one.attach(pipe), two.attach(pipe)
        guidance = 5.0 if "null_text" in (kind, other) else 1.0
        both = picture(pipe, prompt, guidance=guidance)
        for hold, concept in ((first, one), (second, two)):
            hold.scale = 0.0
            assert not same(picture(pipe, prompt, guidance=guidance), both), (
                f"{kind} + {other}: {concept.phrase} does not act"
            )
            hold.scale = 1.0
        second.detach()
        first.detach()
        second, first = two.attach(pipe), one.attach(pipe)
        assert same(picture(pipe, prompt, guidance=guidance), both), (
            f"{kind} + {other}: the order of attaching matters"
        )
        second.detach()
        first.detach()
        assert same(picture(pipe), base), f"{kind} + {other}: detaching leaves a trace"


@pytest.mark.parametrize("kind", KINDS)
def test_half_a_concept_is_between_none_and_all_of_it(pipe, concept_of, kind):
    concept = concept_of(kind)
    prompt = f"a photo of {concept.phrase}"
    with concept.attach(pipe) as hold:
        drawn = []
        for hold.scale in (0.0, 0.5, 1.0):
            drawn.append(picture(pipe, prompt, guidance=5.0))
    assert not same(drawn[0], drawn[1]) and not same(drawn[1], drawn[2])


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_limits_a_concept_in_time_or_is_refused_in_one_line(pipe, concept_of, kind):
    concept, companion = concept_of(kind), concept_of("low_rank", 1)
    prompt = f"a photo of {concept.phrase}"
    with companion.attach(pipe), concept.attach(pipe):
        whole = picture(pipe, prompt, steps=2, guidance=5.0)
    with companion.attach(pipe):
        try:
            hold = concept.attach(pipe, window=(0.0, 0.5))
        except PersonaError as error:
            assert "window" in str(error) and "\n" not in str(error)
            return
        with hold:
            early = picture(pipe, prompt, steps=2, guidance=5.0)
    assert not same(early, whole)
