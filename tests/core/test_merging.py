"""Several concepts become one."""

import pytest
import torch

from diffusers_persona import Concept, PersonaError, merge
from diffusers_persona.functional.merging import constrained_merge, unique_rows


@pytest.mark.evidence(level="parity", recipe="custom-diffusion")
def test_the_merge_meets_its_constraints_and_is_the_least_squares_one():
    torch.manual_seed(0)
    weight, ordinary = torch.randn(7, 10), torch.randn(40, 10)
    targets, values = torch.randn(4, 10), torch.randn(4, 7)
    merged = constrained_merge(weight, ordinary, targets, values)
    assert torch.allclose(targets @ merged.T, values, atol=1e-4)
    cost = ((merged - weight) @ ordinary.T).norm()
    kernel = torch.linalg.svd(targets)[2][4:]
    for direction in kernel:
        other = merged + 0.05 * torch.randn(7, 1) * direction
        assert ((other - weight) @ ordinary.T).norm() >= cost - 1e-4


def test_repeated_rows_count_once():
    rows = torch.tensor([[1.0, 2.0], [0.0, 1.0], [1.0, 2.0]])
    unique, marks = unique_rows(rows, torch.tensor([7, 8, 9]))
    assert unique.tolist() == [[1.0, 2.0], [0.0, 1.0]] and marks.tolist() == [7, 8]


CAPTIONS = ["a photo of cat", "a painting of the person in red", "one thing on the beach", "my picture and style"] * 2


def test_two_custom_diffusion_concepts_become_one(pipe, learned, draw, tmp_path):
    first = learned(pipe, "custom-diffusion", token="<one>", noun="dog", seed=0)
    second = learned(pipe, "custom-diffusion", token="<two>", noun="cat", seed=1)
    both = merge([first, second], pipe, captions=CAPTIONS)
    assert [s.kind for s in both.spaces] == ["word", "word", "key_weights"]
    assert both.phrase == "<one> dog and <two> cat"
    both = Concept.from_pretrained(both.save_pretrained(tmp_path / "both"))
    base = draw(pipe)
    with both.attach(pipe):
        picture = draw(pipe, f"a photo of {both.phrase}")
    assert (picture != base).any() and (draw(pipe) == base).all()


def test_what_cannot_be_merged_is_refused(pipe, learned):
    words = [learned(pipe, "textual-inversion", token=t) for t in ("<one>", "<two>")]
    with pytest.raises(PersonaError, match="defines no merge"):
        merge(words, pipe)
    with pytest.raises(PersonaError, match="two or more concepts of one recipe"):
        merge(words[:1], pipe)
    first = learned(pipe, "custom-diffusion", token="<three>")
    with pytest.raises(PersonaError, match="ordinary captions"):
        merge([first, first], pipe)
