"""Image attention: new pictures look at a reference picture, and only where the prompt speaks of the concept."""

import pytest
import torch

from diffusers_persona import Concept, PersonaError, learn
from diffusers_persona.schemes import with_reference
from diffusers_persona.testing import tiny_pictures, tiny_pipeline


@pytest.fixture(scope="module")
def concept():
    options = dict(noun="dog", steps=2, batch_size=2, word_lr=1e-2, lr=1e-2, progress=False)
    return learn(tiny_pipeline("sd"), tiny_pictures(3), "vico", **options)


def test_a_prompt_without_the_word_stays_as_it_was(pipe, concept, draw):
    plain = draw(pipe, ["a photo of cat", "a photo of dog"])
    with concept.attach(pipe):
        assert (draw(pipe, ["a photo of cat", "a photo of dog"]) == plain).all()
        mixed = draw(pipe, ["a photo of <dog>", "a photo of dog"])
        assert abs(mixed[1] - plain[1]).max() < 1e-5 and abs(mixed[0] - plain[0]).max() > 1e-3


def test_the_reference_shows(pipe, concept, draw):
    other = with_reference(concept, pipe, tiny_pictures(1, seed=9, side=48))
    pictures = []
    for each in (concept, other):
        with each.attach(pipe):
            pictures.append(draw(pipe, f"a photo of {concept.phrase}"))
    assert abs(pictures[0] - pictures[1]).max() > 1e-4


def test_half_the_strength_lies_between(pipe, concept, draw):
    with concept.attach(pipe, scale=0.0) as attachment:
        sees = [draw(pipe, f"a photo of {concept.phrase}", steps=1)]
        for attachment.scale in (0.5, 1.0):
            sees.append(draw(pipe, f"a photo of {concept.phrase}", steps=1))
    apart = [abs(sees[n] - sees[0]).mean() for n in (1, 2)]
    assert 0 < apart[0] < apart[1]


def test_each_picture_of_a_prompt_looks_for_itself(pipe, concept, draw):
    with concept.attach(pipe):
        latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))
        both = draw(pipe, f"a photo of {concept.phrase}", latents=latents, num_images_per_prompt=2)
        alone = draw(pipe, f"a photo of {concept.phrase}", latents=latents[1:])
    assert abs(both[1] - alone[0]).max() < 1e-4


def test_another_concept_is_learned_beside_it_as_without_it(pipe, concept):
    numbers = dict(noun="cat", steps=2, batch_size=2, progress=False)
    alone = learn(pipe, tiny_pictures(2), "textual-inversion", **numbers)
    with concept.attach(pipe):
        assert learn(pipe, tiny_pictures(2), "textual-inversion", **numbers).digest == alone.digest


def test_it_works_in_half_precision(concept, draw):
    pipe = tiny_pipeline("sd")
    with concept.attach(pipe):
        pipe.to(dtype=torch.bfloat16)
        assert draw(pipe, f"a photo of {concept.phrase}").shape == (1, 32, 32, 3)


def test_two_references_do_not_depend_on_their_order(pipe, concept, draw):
    numbers = dict(noun="cat", steps=1, batch_size=2, progress=False)
    other = learn(pipe, tiny_pictures(2, seed=5), "vico", **numbers)
    prompt, pictures = f"a {concept.phrase} and {other.phrase}", []
    for pair in ((concept, other), (other, concept)):
        with pair[0].attach(pipe), pair[1].attach(pipe):
            pictures.append(draw(pipe, prompt))
    assert (pictures[0] == pictures[1]).all()


def test_what_does_not_fit_is_named(pipe, concept):
    own = {k: v for k, v in concept.tensors.items() if not k.endswith("reference")}
    with pytest.raises(PersonaError, match="with_reference"):
        Concept(header=concept.header, tensors=own).attach(pipe)
    key = next(k for k in concept.tensors if k.endswith("attn2.to_k.weight"))
    with pytest.raises(PersonaError, match="attn2.to_k.weight: the concept's tensor is"):
        Concept(header=concept.header, tensors=concept.tensors | {key: torch.zeros(3, 3)}).attach(pipe)
    with pytest.raises(PersonaError, match="looks at no reference"):
        with_reference(
            learn(pipe, tiny_pictures(1), "textual-inversion", noun="dog", steps=1, progress=False), pipe, []
        )


@pytest.mark.evidence(level="formats", recipe="vico")
def test_files_of_the_official_code(pipe, concept, tmp_path, draw):
    """The blocks and the word in a file each; the reference picture is given anew."""
    with concept.attach(pipe):
        ours = draw(pipe, f"a photo of {concept.phrase}")
    files = concept.export("original", tmp_path, pipe=pipe)
    content = torch.load(next(f for f in files if f.name == "cross_attention.pt"), weights_only=True)
    assert all(k.startswith("diffusion_model.output_blocks.") and ".1.image_cross_attention." in k for k in content)
    loaded = Concept.from_file(tmp_path, token=concept.token, noun="dog", base=pipe)
    assert not loaded.report.unused and not loaded.report.missing
    loaded = with_reference(loaded, pipe, tiny_pictures(3)[0])
    with loaded.attach(pipe):
        assert abs(draw(pipe, f"a photo of {concept.phrase}") - ours).max() < 1e-5
