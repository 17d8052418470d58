"""One LoRA file, read by stock diffusers and by us, gives one picture; so do the files that we write."""

import numpy as np
import pytest
import torch
from factors import ATTENTION, CONVOLUTIONS, TEXT, draw, factors, flat, layers, pipe_of, stock_picture
from safetensors.torch import save_file

from diffusers_persona import Concept

FAMILIES = ("sd", "sdxl")
LAYOUTS = ("diffusers", "older", "kohya")


def write(path, pipe, layout, *, rank=4, alpha=2.0):
    """A LoRA of attention, convolutions and text encoders in one of the layouts."""
    content = {}
    encoders = [name for name in ("text_encoder", "text_encoder_2") if getattr(pipe, name, None) is not None]
    for component in ("unet", *encoders):
        root = getattr(pipe, component)
        endings = (*ATTENTION, *CONVOLUTIONS, "proj_in") if component == "unet" else TEXT
        for name in layers(root, endings):
            down, up = factors(root, name, rank)
            content |= spelt(layout, component, name, down, up, alpha, several=len(encoders) > 1)
    save_file({key: value.contiguous() for key, value in content.items()}, path)
    return path


def spelt(layout, component, name, down, up, alpha, several):
    inner = name if component == "unet" else f"text_model.{name.removeprefix('text_model.')}"
    if layout == "kohya":
        te = {"unet": "lora_unet", "text_encoder": "lora_te1" if several else "lora_te", "text_encoder_2": "lora_te2"}
        key = f"{te[component]}_{flat(inner)}"
        return {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(alpha)}
    if layout == "diffusers":
        return {f"{component}.{inner}.lora_A.weight": down, f"{component}.{inner}.lora_B.weight": up}
    if component != "unet":
        linear = f"{component}.{inner}.lora_linear_layer"
        return {f"{linear}.down.weight": down, f"{linear}.up.weight": up}
    head, _, last = inner.removesuffix(".0").rpartition(".")
    old = f"{head}.processor.{last}_lora" if last in ("to_q", "to_k", "to_v", "to_out") else f"{inner}.lora"
    return {f"unet.{old}.down.weight": down, f"unet.{old}.up.weight": up}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.evidence(level="formats", recipe="lora")
def test_a_file_draws_what_stock_diffusers_draws_with_it(family, layout, tmp_path):
    pipe = pipe_of(family)
    path = write(tmp_path / "lora.safetensors", pipe, layout)
    stock, bare = stock_picture(pipe, path), draw(pipe)
    concept = Concept.from_file(path)
    assert not concept.report.unused and not concept.report.missing
    with concept.attach(pipe):
        ours = draw(pipe)
    assert np.abs(ours - stock).max() < 1e-4 < np.abs(stock - bare).max()
    assert np.array_equal(draw(pipe), bare)


@pytest.mark.parametrize("to", ["kohya", "a1111", "diffusers"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.evidence(level="formats", recipe="lora")
def test_stock_diffusers_reads_what_we_write(family, to, tmp_path):
    pipe = pipe_of(family)
    concept = Concept.from_file(write(tmp_path / "lora.safetensors", pipe, "kohya"))
    with concept.attach(pipe):
        ours = draw(pipe)
    (file,) = concept.export(to, tmp_path / f"{to}.safetensors")
    assert np.abs(stock_picture(pipe, file) - ours).max() < 1e-4
    with Concept.from_file(file).attach(pipe):
        assert np.abs(draw(pipe) - ours).max() < 1e-5


@pytest.mark.evidence(level="formats", recipe="lora")
def test_a_peft_folder_is_read_by_peft_and_by_us(tmp_path):
    from peft import PeftConfig, inject_adapter_in_model, set_peft_model_state_dict
    from safetensors.torch import load_file

    pipe = pipe_of("sd")
    source = Concept.from_file(write(tmp_path / "lora.safetensors", pipe, "kohya"))
    with source.attach(pipe):
        ours = draw(pipe)
    source.export("peft", tmp_path / "peft")
    parts = [Concept.from_file(tmp_path / "peft" / name) for name in ("unet", "text_encoder")]
    with parts[0].attach(pipe), parts[1].attach(pipe):
        assert np.abs(draw(pipe) - ours).max() < 1e-5
    with Concept.from_file(tmp_path / "peft").attach(pipe):
        assert np.abs(draw(pipe) - ours).max() < 1e-5
    unet = PeftConfig.from_pretrained(str(tmp_path / "peft" / "unet"))
    inject_adapter_in_model(unet, pipe.unet, "x")
    content = load_file(tmp_path / "peft" / "unet" / "adapter_model.safetensors")
    content = {key.removeprefix("base_model.model."): value for key, value in content.items()}
    assert not set_peft_model_state_dict(pipe.unet, content, "x").unexpected_keys
    with parts[1].attach(pipe):
        theirs = draw(pipe)
    pipe.unload_lora_weights()
    assert np.abs(theirs - ours).max() < 1e-4


def test_a_peft_folder_of_the_second_text_encoder_says_so(tmp_path):
    pipe = pipe_of("sdxl")
    Concept.from_file(write(tmp_path / "lora.safetensors", pipe, "kohya")).export("peft", tmp_path / "peft")
    concept = Concept.from_file(tmp_path / "peft" / "text_encoder_2")
    assert all(key.startswith("text_encoder_2.") for key in concept.tensors_of(0))


def test_a_learned_concept_goes_through_kohya_and_back(tmp_path):
    """What learning with alpha and rank-stabilised scaling gives survives a layout that knows only alpha / rank."""
    from diffusers_persona import learn
    from diffusers_persona.testing import tiny_pictures

    pipe = pipe_of("sd")
    numbers = dict(steps=2, lr=5e-2, batch_size=1, alpha=8.0, rank_stabilised=True, train_text_encoder=True)
    concept = learn(pipe, tiny_pictures(2), "lora", noun="dog", progress=False, **numbers)
    with concept.attach(pipe):
        ours = draw(pipe)
    for to in ("kohya", "diffusers"):
        (file,) = concept.export(to, tmp_path / f"{to}.safetensors")
        assert np.abs(stock_picture(pipe, file) - ours).max() < 1e-4
        with Concept.from_file(file).attach(pipe):
            assert np.abs(draw(pipe) - ours).max() < 1e-4


@pytest.mark.evidence(level="formats", recipe="lora")
def test_learned_magnitudes_are_attached_and_written(tmp_path):
    """DoRA: the attached picture is that of stock diffusers with the stock file."""
    from diffusers_persona import learn
    from diffusers_persona.testing import tiny_pictures

    pipe = pipe_of("sd")
    concept = learn(
        pipe, tiny_pictures(2), "lora", noun="dog", progress=False, steps=2, lr=5e-2, batch_size=1, dora=True
    )
    name = next(key for key in concept.tensors if key.endswith("lora_magnitude_vector"))
    concept.tensors[name] = concept.tensors[name] * 1.5
    concept.save_pretrained(tmp_path)
    with Concept.from_pretrained(tmp_path).attach(pipe):
        ours = draw(pipe)
    stock = stock_picture(pipe, tmp_path, weight_name="pytorch_lora_weights.safetensors")
    assert np.abs(stock - ours).max() < 1e-4 < np.abs(draw(pipe) - ours).max()
