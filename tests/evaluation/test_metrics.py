"""The metrics on embeddings that can be worked out by hand."""

import numpy as np
import pytest
import torch

from diffusers_persona.errors import PersonaError
from diffusers_persona.evaluation.metrics import (
    all_pairs,
    class_prompt,
    clip_text,
    paired,
    to_the_others,
    top_label_is,
)

X, Y = [1.0, 0.0], [0.0, 1.0]
DIAGONAL = [1.0, 1.0]


def test_all_pairs_averages_over_the_references():
    scores = all_pairs(torch.tensor([X, DIAGONAL]), torch.tensor([X, Y]))
    assert scores.tolist() == pytest.approx([0.5, 2**-0.5])


def test_paired_compares_each_picture_with_its_own_source():
    assert paired(torch.tensor([X, X]), torch.tensor([X, Y])).tolist() == pytest.approx([1.0, 0.0])


def test_the_length_of_an_embedding_does_not_matter():
    images, references = torch.randn(3, 8), torch.randn(4, 8)
    assert torch.allclose(all_pairs(images * 7, references / 3), all_pairs(images, references), atol=1e-6)


def test_half_precision_is_scored_in_float32():
    images = torch.randn(3, 64)
    assert all_pairs(images.half(), images.half()).dtype == torch.float32


def test_arrays_are_as_good_as_tensors():
    assert all_pairs(np.array([X]), np.array([DIAGONAL])).item() == pytest.approx(2**-0.5)


def test_real_images_leaves_out_each_picture_with_itself():
    assert to_the_others(torch.tensor([X, Y, Y])).tolist() == pytest.approx([0, 0.5, 0.5])
    with pytest.raises(PersonaError, match="at least two"):
        to_the_others(torch.tensor([X]))


def test_clip_text_is_the_raw_cosine():
    assert clip_text(torch.tensor([DIAGONAL]), torch.tensor([X])).item() == pytest.approx(2**-0.5)


@pytest.mark.parametrize("other", [torch.randn(2, 5), torch.randn(0, 4)])
def test_embeddings_that_do_not_fit_are_refused(other):
    with pytest.raises(PersonaError, match="do not fit"):
        all_pairs(torch.randn(2, 4), other)


@pytest.mark.parametrize(
    ("template", "noun", "expected"),
    [
        ("a {} on the beach", "animal", "an animal on the beach"),
        ("a {} on the beach", "toy", "a toy on the beach"),
        ("A {} at sunset", "animal", "An animal at sunset"),
        ("a sketch of a {}", "animal", "a sketch of an animal"),
        ("a small {}", "animal", "a small animal"),
        ("{} in space", "woman", "woman in space"),
    ],
)
def test_the_class_prompt_drops_the_token_and_keeps_the_grammar(template, noun, expected):
    assert class_prompt(template, noun) == expected


def test_a_template_without_a_place_for_the_concept_is_refused():
    with pytest.raises(PersonaError, match="exactly one"):
        class_prompt("on the beach", "toy")


def test_a_label_counts_when_it_is_likeliest_or_among_the_top():
    names, probabilities = ["cat", "dog", "owl"], [[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]]
    assert top_label_is(names, probabilities, "cat").tolist() == [1.0, 0.0]
    assert top_label_is(names, probabilities, "dog", top=2).tolist() == [1.0, 1.0]
    with pytest.raises(PersonaError, match="no label 'cow'.*cat, dog, owl"):
        top_label_is(names, probabilities, "cow")
