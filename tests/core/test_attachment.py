"""A concept at work: beside stock features, at any strength, and gone without a trace."""

import logging

import numpy as np
import pytest
import torch

from diffusers_persona import Concept, PersonaError, learn
from diffusers_persona.testing import tiny_pictures, tiny_pipeline

PROMPT = "a photo of <toy> and sks dog in red"


@pytest.fixture(scope="module")
def concepts():
    """A word, a low-rank and a full-weights concept, learned on the same tiny pipeline."""
    pipe, pictures = tiny_pipeline("sd"), tiny_pictures(4)
    options = dict(noun="dog", steps=2, batch_size=2, progress=False)
    return {
        "word": learn(pipe, pictures, "textual-inversion", token="<toy>", vectors=2, lr=0.5, **options),
        "low_rank": learn(pipe, pictures, "lora", lr=0.3, **options),
        "weights": learn(pipe, pictures, "dreambooth", prior_weight=0.0, lr=1e-2, **options),
    }


@pytest.fixture
def attached(pipe, concepts, draw):
    """The pipeline with a word and a low-rank concept at work, and what it draws."""
    pipe.base = draw(pipe)
    holds = [concepts["word"].attach(pipe), concepts["low_rank"].attach(pipe)]
    pipe.expected = draw(pipe, PROMPT)
    yield pipe
    for hold in holds:
        hold.detach()
    assert np.array_equal(draw(pipe), pipe.base)


def same(first, second, tolerance=0.0):
    return np.abs(first - second).max() <= tolerance


def test_a_context_manager_detaches_also_after_an_error(pipe, concepts, draw):
    base = draw(pipe)
    with pytest.raises(RuntimeError), concepts["low_rank"].attach(pipe):
        raise RuntimeError
    assert same(draw(pipe), base)


def test_detaching_twice_is_harmless(pipe, concepts):
    hold = concepts["low_rank"].attach(pipe)
    hold.detach()
    hold.detach()


@pytest.mark.parametrize("kind", ["low_rank", "weights"])
def test_scale_zero_is_the_stock_model_and_scale_may_be_set_at_any_time(pipe, concepts, draw, kind):
    base = draw(pipe)
    with concepts[kind].attach(pipe, scale=0.0) as hold:
        assert same(draw(pipe), base)
        hold.scale = 1.0
        full = draw(pipe)
        assert not same(full, base, 1e-3)
        hold.scale = 0.0
        assert same(draw(pipe), base)


def test_scale_of_a_word_moves_it_from_its_class_word(pipe, concepts, draw):
    class_word = draw(pipe, "a photo of dog dog")
    with concepts["word"].attach(pipe, scale=0.0):
        assert same(draw(pipe, "a photo of <toy>"), class_word, 1e-5)
    with concepts["word"].attach(pipe):
        assert not same(draw(pipe, "a photo of <toy>"), class_word, 1e-3)


def test_a_window_limits_the_concept_to_a_part_of_the_denoising(pipe, concepts, draw):
    base = draw(pipe, steps=4)
    with concepts["low_rank"].attach(pipe):
        whole = draw(pipe, steps=4)
    with concepts["low_rank"].attach(pipe, window=(0.5, 1.0)):
        late = draw(pipe, steps=4)
    with concepts["low_rank"].attach(pipe, window=(0.9999, 1.0)):
        never = draw(pipe, steps=4)
    assert not same(late, base, 1e-4) and not same(late, whole, 1e-4)
    assert same(never, base)
    assert same(draw(pipe, steps=4), base) and not pipe.unet.time_proj._diffusers_hook.hooks


@pytest.mark.parametrize("window", [(0.5, 0.5), (-0.1, 1.0), (0.8, 0.2)])
def test_an_impossible_window_is_refused(pipe, concepts, window):
    with pytest.raises(PersonaError, match="0 <= start < stop <= 1"):
        concepts["low_rank"].attach(pipe, window=window)


def test_a_word_has_no_window_and_no_space_a_region(pipe, concepts, draw):
    base = draw(pipe)
    with pytest.raises(PersonaError, match="cannot be limited to a window"):
        concepts["word"].attach(pipe, window=(0.0, 0.5))
    with pytest.raises(PersonaError, match="without region="):
        concepts["low_rank"].attach(pipe, region="left")
    assert same(draw(pipe), base) and not pipe.unet.time_proj._diffusers_hook.hooks


def test_the_same_token_twice_is_refused_and_nothing_is_left_behind(pipe, concepts, draw):
    with concepts["word"].attach(pipe):
        before = draw(pipe, PROMPT)
        with pytest.raises(PersonaError, match="token '<toy>' is taken"):
            concepts["word"].attach(pipe)
        assert same(draw(pipe, PROMPT), before)
    with pytest.raises(PersonaError, match="learned on a sd model .*sdxl"):
        concepts["word"].attach(tiny_pipeline("sdxl"))


def test_another_training_of_the_architecture_is_warned_of(concepts):
    with pytest.warns(UserWarning, match="may look different"):
        concepts["low_rank"].attach(tiny_pipeline("sd", seed=5)).detach()


def test_a_concept_of_another_shape_names_the_layer(pipe, concepts, draw):
    base = draw(pipe)
    broken = Concept(header=concepts["low_rank"].header, tensors=dict(concepts["low_rank"].tensors))
    key = next(k for k in broken.tensors if k.endswith("lora_B.weight") and "up_blocks" in k)
    broken.tensors[key] = torch.zeros(7, 4)
    with pytest.raises(PersonaError, match=r"layer unet\.up_blocks.*\(7, 4\)"):
        broken.attach(pipe)
    assert same(draw(pipe), base)


def test_a_hundred_rounds_of_attaching_in_random_order_leave_no_trace(pipe, concepts, draw):
    base, random = draw(pipe, steps=1), np.random.default_rng(0)
    modules = [name for name, _ in pipe.unet.named_modules()]
    small = [concepts["word"], concepts["low_rank"]]
    for _ in range(100):
        holds = [small[i].attach(pipe, scale=float(random.uniform())) for i in random.permutation(2)]
        for i in random.permutation(2):
            holds[i].detach()
    assert same(draw(pipe, steps=1), base)
    assert [name for name, _ in pipe.unet.named_modules()] == modules
    assert "_persona_grips" not in pipe.__dict__
    print("100 rounds, bit-equal")


# ----------------------------------------------------------------------------------------------- beside stock features


def test_batches_negative_prompts_and_several_pictures_a_prompt(attached, draw):
    pictures = draw(attached, [PROMPT, "a cat"], negative_prompt=["dog", "<toy>"], num_images_per_prompt=2)
    assert pictures.shape == (4, 32, 32, 3)


@pytest.mark.parametrize("feature", ["attention_slicing", "vae_slicing", "freeu"])
def test_switching_a_stock_feature_on_and_off_keeps_the_concepts(attached, draw, feature):
    settings = {"freeu": dict(s1=0.9, s2=0.2, b1=1.2, b2=1.4)}.get(feature, {})
    target = attached.vae if feature == "vae_slicing" else attached
    name = "slicing" if feature == "vae_slicing" else feature
    getattr(target, f"enable_{name}")(**settings)
    draw(attached, PROMPT)
    getattr(target, f"disable_{name}")()
    assert same(draw(attached, PROMPT), attached.expected, 1e-5)


def test_fused_projections_hold_the_concept_and_lose_it_on_detaching(pipe, concepts, draw):
    base = draw(pipe)
    with concepts["low_rank"].attach(pipe):
        expected = draw(pipe)
        pipe.fuse_qkv_projections(vae=False)
        assert same(draw(pipe), expected, 1e-5)
    assert same(draw(pipe), base, 1e-5)
    with concepts["low_rank"].attach(pipe):
        assert same(draw(pipe), expected, 1e-5)
    pipe.unfuse_qkv_projections(vae=False)
    assert same(draw(pipe), base)


def test_stock_textual_inversion_loads_beside_a_word(attached, draw):
    attached.load_textual_inversion(torch.full((1, 32), 3.0), token="<ti>")
    assert same(draw(attached, PROMPT), attached.expected)
    assert not same(draw(attached, PROMPT + " <ti>"), draw(attached, PROMPT + " cat"), 1e-4)
    attached.unload_textual_inversion("<ti>")
    assert same(draw(attached, PROMPT), attached.expected)


def test_stock_lora_loads_beside_a_concept(attached, draw):
    from peft import LoraConfig

    attached.unet.add_adapter(LoraConfig(r=4, target_modules=["to_q", "to_v"], init_lora_weights=False), "stock")
    assert not same(draw(attached, PROMPT), attached.expected, 1e-4)
    attached.unload_lora_weights()
    assert same(draw(attached, PROMPT), attached.expected)


def test_a_concept_attaches_beside_a_stock_lora(pipe, concepts, draw):
    from peft import LoraConfig

    pipe.unet.add_adapter(LoraConfig(r=4, target_modules=["to_q", "to_v"], init_lora_weights=False), "stock")
    base = draw(pipe)
    with concepts["low_rank"].attach(pipe):
        assert not same(draw(pipe), base, 1e-3)
    assert same(draw(pipe), base)


def test_a_stock_ip_adapter_loads_beside_a_concept(attached, draw):
    layers = [n for n in attached.unet.attn_processors if n.endswith("attn2.processor")]
    weights = {"image_proj": {}, "ip_adapter": {}}
    weights["image_proj"] = {
        "proj.weight": torch.zeros(4 * 32, 24),
        "proj.bias": torch.randn(4 * 32),
        "norm.weight": torch.ones(32),
        "norm.bias": torch.zeros(32),
    }
    for n, name in enumerate(layers):
        width = attached.unet.get_submodule(name.removesuffix(".processor")).to_q.weight.shape[0]
        weights["ip_adapter"][f"{2 * n + 1}.to_k_ip.weight"] = torch.randn(width, 32)
        weights["ip_adapter"][f"{2 * n + 1}.to_v_ip.weight"] = torch.randn(width, 32)
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    size = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4)
    encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(image_size=32, patch_size=16, projection_dim=24, **size))
    attached.register_modules(image_encoder=encoder)
    attached.load_ip_adapter(weights, subfolder="", weight_name=[""])
    embeddings = [torch.randn(2, 1, 24)]
    attached.set_ip_adapter_scale(0.0)
    assert same(draw(attached, PROMPT, ip_adapter_image_embeds=embeddings), attached.expected, 1e-5)
    attached.set_ip_adapter_scale(1.0)
    assert not same(draw(attached, PROMPT, ip_adapter_image_embeds=embeddings), attached.expected, 1e-4)
    attached.unload_ip_adapter()
    assert same(draw(attached, PROMPT), attached.expected, 1e-5)


def test_model_offload_twice_and_back(attached, draw):
    attached.enable_model_cpu_offload(device="cpu")
    assert same(draw(attached, PROMPT), attached.expected)
    assert same(draw(attached, PROMPT), attached.expected)
    attached.remove_all_hooks()


def test_compilation_sees_the_concept_and_a_later_change_of_scale(pipe, concepts, draw):
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    base = draw(pipe)
    with concepts["low_rank"].attach(pipe) as hold:
        expected = draw(pipe)
        pipe.unet.compile(backend="eager")
        assert same(draw(pipe), expected, 1e-5)
        hold.scale = 0.0
        assert same(draw(pipe), base, 1e-5)
    assert same(draw(pipe), base, 1e-5)
    assert not torch._dynamo.utils.counters["graph_break"]


def test_the_pipeline_changes_precision_with_the_concept_on(pipe, concepts, draw):
    with concepts["word"].attach(pipe), concepts["low_rank"].attach(pipe):
        expected = draw(pipe, PROMPT)
        pipe.to(torch.bfloat16)
        assert same(draw(pipe, PROMPT).astype(np.float32), expected, 0.2)
        pipe.to(torch.float32)
    assert pipe.unet.dtype == torch.float32


def test_an_image_to_image_pipeline_made_from_the_first_shares_the_concept(attached):
    from diffusers import StableDiffusionImg2ImgPipeline

    other = StableDiffusionImg2ImgPipeline.from_pipe(attached, torch_dtype=torch.float32)
    other.set_progress_bar_config(disable=True)
    picture = tiny_pictures(1)[0]

    def run(prompt):
        options = dict(
            strength=0.9, num_inference_steps=3, output_type="np", generator=torch.Generator().manual_seed(0)
        )
        return other(prompt, image=picture, **options).images

    assert not same(run("a photo of <toy>"), run("a photo of dog dog"), 1e-4)


def test_a_sample_does_not_depend_on_its_batch(attached, draw):
    two = [torch.Generator().manual_seed(s) for s in (0, 1)]
    both = draw(attached, [PROMPT, "a cat"], generator=two)
    assert same(both[0], attached.expected[0], 1e-5)
