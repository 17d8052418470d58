"""The card's lines for plain diffusers do what they say, whatever stock files the concept has."""

import re

import pytest
import torch

from diffusers_persona import Concept
from diffusers_persona.card import render_card
from diffusers_persona.testing import tiny_pipeline

WIDTHS = {"sd": {"text_encoder": 32}, "sdxl": {"text_encoder": 32, "text_encoder_2": 32}}


def concept_of(family, *tokens):
    """A concept with one word space for each token."""
    header = {
        "schema_version": 1,
        "recipe": "textual-inversion",
        "token": tokens[0],
        "noun": "toy",
        "spaces": [{"kind": "word", "token": token} for token in tokens],
        "base_model": {"family": family, "name": "base"},
    }
    tensors = {
        f"{i}.word.{encoder}.embedding": torch.full((2, width), float(i + 1))
        for i in range(len(tokens))
        for encoder, width in WIDTHS[family].items()
    }
    return Concept(header=header, tensors=tensors)


def stock_block(text):
    return text.split("```python\n")[1].split("```")[0]


@pytest.mark.parametrize("family", ["sd", "sdxl"])
@pytest.mark.parametrize("tokens", [("<one>",), ("<one>", "<two>")], ids=["one word", "two words"])
def test_the_words_are_in_the_pipeline_after_the_cards_lines(family, tokens, tmp_path):
    folder = concept_of(family, *tokens).save_pretrained(tmp_path / "concept")
    lines = stock_block((folder / "README.md").read_text()).replace("PATH_OR_REPO", str(folder)).splitlines()
    skipped = ("from diffusers", "pipe =", "image =")
    pipe = tiny_pipeline(family)
    exec("\n".join(line for line in lines if not line.startswith(skipped)), {"pipe": pipe})
    for number, token in enumerate(tokens):
        for encoder in WIDTHS[family]:
            tokenizer = getattr(pipe, encoder.replace("text_encoder", "tokenizer"))
            row = tokenizer.convert_tokens_to_ids(token)
            embedding = getattr(pipe, encoder).get_input_embeddings().weight[row]
            assert (embedding == number + 1).all(), f"{token} in {encoder}"


def test_every_word_has_a_line_with_its_own_file_and_token():
    files = ["one_learned_embeds.safetensors", "two_learned_embeds.safetensors"]
    text = render_card(concept_of("sd", "<one>", "<two>").header, files=files, repo="user/both")
    for word in ("one", "two"):
        line = (
            f'load_textual_inversion("user/both", weight_name="{word}_learned_embeds.safetensors", token="<{word}>")'
        )
        assert line in text
    assert "no stock diffusers format" not in text and "Only a part" not in text


def test_on_the_hub_a_pair_is_fetched_by_the_hubs_own_function():
    header = concept_of("sdxl", "<one>").header
    code = stock_block(render_card(header, files=["learned_embeds.safetensors"], repo="user/one", revision="v2"))
    assert 'hf_hub_download("user/one", "learned_embeds.safetensors", revision="v2")' in code
    assert "from huggingface_hub import hf_hub_download" in code
    compile(code, "card", "exec")


def test_a_branch_is_named_in_every_example():
    text = render_card(
        concept_of("sd", "<one>").header, files=["learned_embeds.safetensors"], repo="u/n", revision="v2"
    )
    assert 'load_textual_inversion("u/n", revision="v2", weight_name=' in text
    assert 'Concept.from_pretrained("u/n", revision="v2")' in text
    assert "persona pull u/n concept --revision v2\npersona generate concept --base" in text
    assert not re.search(r"persona generate u/n", text)


def test_on_the_main_branch_no_revision_is_named():
    text = render_card(concept_of("sd", "<one>").header, files=["learned_embeds.safetensors"], repo="u/n")
    assert "persona generate u/n --base" in text and "revision" not in text
