"""The knobs of the low-rank space: blocks, ranks, fixed bases, and several LoRAs learned side by side."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from diffusers_persona import PersonaError, inversion, losses, schemes, spaces
from diffusers_persona.backbones import of
from diffusers_persona.functional.low_rank import orthonormal_basis
from diffusers_persona.spaces.base import Part
from diffusers_persona.testing import tiny_pipeline

PARTS = (Part(token="sks", noun="cat"), Part(token="ktn", noun="style"))
SUBJECT = spaces.Subject(token="sks ktn", noun="cat and style", parts=PARTS)
LAYER = "mid_block.attentions.0.transformer_blocks.0"


@dataclasses.dataclass
class Batch:
    """What a learner is told of a batch."""

    pictures: list
    prompts: list = dataclasses.field(default_factory=list)


@pytest.fixture
def clone():
    return of(tiny_pipeline("sd")).private_clone()


@pytest.mark.evidence(level="parity", recipe="b-lora")
def test_content_and_style_live_in_the_official_blocks_of_sdxl():
    host = of(tiny_pipeline("sdxl")).private_clone()
    for name, block, path in (
        ("content", "up.0", "up_blocks.0.attentions.0"),
        ("style", "up.1", "up_blocks.0.attentions.1"),
    ):
        learner = spaces.LowRank(name=name, rank=2, blocks=(block,)).prepare(host, SUBJECT)
        layers = {key.rpartition(".lora_")[0] for key in learner.parameters}
        assert all(layer.startswith(f"unet.{path}.transformer_blocks.") for layer in layers)
        assert len(layers) == 2 * 2 * 4, "two transformer layers, self- and cross-attention, four projections each"


@pytest.mark.evidence(level="parity", recipe="block-wise-lora")
def test_a_block_of_rank_0_keeps_its_weights(clone):
    space = spaces.LowRank(rank=2, ranks={"up": 3, "mid": 0}, targets=("to_q", "conv1"))
    ranks = space.ranks_on(clone)
    assert {rank for path, rank in ranks.items() if path.startswith("up_blocks.")} == {3}
    assert {rank for path, rank in ranks.items() if path.startswith("down_blocks.")} == {2}
    assert not any(path.startswith("mid_block") for path in ranks)
    learner = space.prepare(clone, SUBJECT)
    assert {key.removeprefix("unet.").rpartition(".lora_")[0] for key in learner.parameters} == set(ranks)
    assert all(len(p) == ranks[k[5:].rpartition(".lora_")[0]] for k, p in learner.parameters.items() if "lora_A" in k)


def test_a_block_that_the_model_does_not_have_is_refused_by_name(clone):
    with pytest.raises(PersonaError, match=r"block 'up\.7'.*up\.0, up\.1"):
        spaces.LowRank(blocks=("up.7",)).prepare(clone, SUBJECT)


@pytest.mark.evidence(level="parity", recipe="personalized-residuals")
def test_residuals_of_five_percent_are_the_papers_million_parameters_on_sd_1():
    """16 output projections; 1.2 million parameters, 0.1 % of the model (arXiv 2405.12978, section 4)."""
    from diffusers import UNet2DConditionModel

    pipe = tiny_pipeline("sd")
    with torch.device("meta"):
        pipe.unet = UNet2DConditionModel(cross_attention_dim=768)
    ranks = spaces.LowRank(rank=0.05, targets=("proj_out",)).ranks_on(of(pipe))
    sizes = {path: pipe.unet.get_submodule(path).weight.shape for path in ranks}
    assert len(ranks) == 16
    assert sum(rank * (sizes[path][0] + sizes[path][1]) for path, rank in ranks.items()) == pytest.approx(
        1.2e6, rel=0.05
    )


@pytest.mark.evidence(level="parity", recipe="pair-customization")
def test_content_and_style_read_orthogonal_inputs_that_learning_leaves_alone(clone):
    content = spaces.LowRank(name="content", rank=4, basis=0).prepare(clone, SUBJECT)
    style = spaces.LowRank(name="style", rank=4, basis=4).prepare(clone, SUBJECT)
    assert all(key.endswith("lora_B.weight") for key in (*content.parameters, *style.parameters))
    for key, rows in content.constants.items():
        assert torch.allclose(rows @ rows.T, torch.eye(4), atol=1e-5)
        assert torch.allclose(rows @ style.constants[key].T, torch.zeros(4, 4), atol=1e-5)
        assert torch.allclose(rows, orthonormal_basis(rows.shape[1])[:4])


@pytest.mark.evidence(level="parity", recipe="pair-customization")
def test_the_style_acts_on_the_second_picture_of_a_pair_and_alone_learns_from_it(clone):
    content = spaces.LowRank(name="content", rank=2, targets=("attn1.to_q",), learns_from=0).prepare(clone, SUBJECT)
    style = spaces.LowRank(name="style", rank=2, targets=("attn1.to_q",), acts_on=1).prepare(clone, SUBJECT)
    layer, path = clone.denoiser.get_submodule(f"{LAYER}.attn1.to_q"), f"unet.{LAYER}.attn1.to_q"
    for learner in (content, style):
        torch.nn.init.normal_(learner.parameters[f"{path}.lora_B.weight"])
        learner.follow(Batch(pictures=[0, 1]), torch.tensor([1, 1]))

    def change(learner, x):
        return x @ (learner.parameters[f"{path}.lora_B.weight"] @ learner.parameters[f"{path}.lora_A.weight"]).T

    x = torch.randn(2, 5, 64)
    expected = F.linear(x, layer.base_layer.weight) + change(content, x)
    expected[1] += change(style, x[1])
    found = layer(x)
    assert torch.allclose(found, expected, atol=1e-4)
    found[1].sum().backward()
    assert content.parameters[f"{path}.lora_B.weight"].grad.abs().max() == 0.0
    assert style.parameters[f"{path}.lora_B.weight"].grad.abs().max() > 0.0


@pytest.mark.evidence(level="parity", recipe="unziplora")
def test_each_lora_reads_its_own_prompt_and_has_a_factor_for_each_output(clone):
    """y = W0 x + m_c (B_c A_c) x_c + m_s (B_s A_s) x_s at the keys of the cross-attention (arXiv 2412.04465)."""
    numbers = dict(rank=2, up_init="normal", merger_rate=100.0, targets=("attn2.to_k",))
    content = spaces.LowRank(name="content", prompt="a {0}", **numbers).prepare(clone, SUBJECT)
    style = spaces.LowRank(name="style", prompt="a {1} of a {nouns[0]}", **numbers).prepare(clone, SUBJECT)
    layer, path = clone.denoiser.get_submodule(f"{LAYER}.attn2.to_k"), f"unet.{LAYER}.attn2.to_k"

    def states(prompt):
        return clone.encode_text(clone.tokenize([prompt]))["encoder_hidden_states"]

    x = states("a ktn style of a sks cat")
    expected = F.linear(x, layer.base_layer.weight)
    for learner, prompt in ((content, "a sks cat"), (style, "a ktn style of a cat")):
        own = learner.parameters
        own[f"{path}.merger"].data.uniform_(-0.01, 0.0)
        m = 1.0 + 100.0 * own[f"{path}.merger"]
        product = own[f"{path}.lora_B.weight"] @ own[f"{path}.lora_A.weight"]
        expected = expected + m * (states(prompt) @ product.T)
        assert torch.allclose(learner.export()[f"{path}.lora_B.weight"], own[f"{path}.lora_B.weight"] * m[:, None])
        assert not any("merger" in key for key in learner.tensors())
    assert torch.allclose(layer(x), expected, atol=1e-4)


@pytest.mark.evidence(level="parity", recipe="unziplora")
def test_mergers_stay_between_0_and_1_and_their_overlap_costs(clone):
    numbers = dict(rank=1, merger_rate=10.0, targets=("mid_block.attentions.0.transformer_blocks.0.attn1.to_q",))
    learners = [spaces.LowRank(name=name, **numbers).prepare(clone, SUBJECT) for name in ("content", "style")]
    first, second = (next(p for k, p in each.parameters.items() if k.endswith("merger")) for each in learners)
    first.data[:], second.data[:] = 3.0, -3.0
    for learner in learners:
        learner.constrain()
    assert (1.0 + 10.0 * first == 1.0).all() and (1.0 + 10.0 * second == 0.0).all()
    second.data[:32] = -0.05
    step = type("Step", (), {"learners": {"low_rank": learners}})()
    assert float(losses.MergerOverlap(weight=0.5)(step).detach()) == pytest.approx(0.5 * 0.5 * 0.5)


@pytest.mark.evidence(level="parity", recipe="unziplora")
def test_columns_that_matter_most_are_switched_on_period_by_period(clone):
    """The importance of column j is the sum over i of (BA)_ij dL/d(BA)_ij (arXiv 2412.04465, section 3.3)."""
    numbers = dict(rank=2, up_init="normal", columns=0.25, column_period=2, targets=("attn1.to_q",), blocks=("mid",))
    learner = spaces.LowRank(name="content", **numbers).prepare(clone, SUBJECT)
    layer, path = clone.denoiser.get_submodule(f"{LAYER}.attn1.to_q"), f"unet.{LAYER}.attn1.to_q"
    down, up = (learner.parameters[f"{path}.lora_{half}.weight"] for half in "AB")
    x, wanted = torch.randn(1, 5, 64), torch.randn(1, 5, 64)
    whole = (up @ down).detach().requires_grad_(True)
    torch.nn.functional.mse_loss(F.linear(x, layer.base_layer.weight + whole), wanted).backward()
    importance = (whole * whole.grad).sum(0).abs()
    torch.nn.functional.mse_loss(layer(x), wanted).backward()
    learner.constrain()
    mask = learner.state[f"{path}.columns"].clone()
    assert mask.sum() == 16 and set(mask.nonzero().flatten().tolist()) == set(importance.topk(16).indices.tolist())
    assert torch.allclose(layer(x), F.linear(x, layer.base_layer.weight + (up @ down) * mask), atol=1e-5)
    assert torch.equal(learner.export()[f"{path}.lora_A.weight"], down * mask)
    learner.constrain()
    torch.nn.functional.mse_loss(layer(10 * torch.randn(1, 5, 64)), wanted).backward()
    learner.constrain()
    both = learner.state[f"{path}.columns"].clone()
    assert (both >= mask).all() and 16 < both.sum() <= 32, "a second period adds columns"
    assert all(key.endswith(("lora_A.weight", "lora_B.weight")) for key in learner.tensors())


@pytest.mark.evidence(level="parity", recipe="style-friendly-snr")
def test_noise_levels_of_learning_have_the_declared_log_snr():
    """lambda ~ N(mu, sigma^2), each draw at the nearest timestep; below the schedule's range at the noisiest one."""
    schedule = of(tiny_pipeline("sd")).noise_schedule()
    ratios = torch.log(schedule.alphas_cumprod / (1.0 - schedule.alphas_cumprod))
    random = torch.Generator().manual_seed(0)
    drawn = ratios[inversion.timesteps.LogSNR(mean=-1.0, deviation=0.5).draw(4000, schedule, random)]
    assert float(drawn.mean()) == pytest.approx(-1.0, abs=0.03) and float(drawn.std()) == pytest.approx(0.5, abs=0.03)
    noisiest = inversion.timesteps.LogSNR(mean=-60.0, deviation=0.1).draw(4, schedule, random)
    assert noisiest.tolist() == [len(ratios) - 1] * 4


def test_pictures_of_a_pair_have_prompts_of_their_own():
    prompts = inversion.prompts.Things(("a {0}", "a {1} of a {0}"))
    first, second = (type("Example", (), {"number": n})() for n in (2, 3))
    phrase = "sks owl and ktn style"
    assert prompts.pick("object", phrase, first) == "a sks owl"
    assert prompts.pick("object", phrase, second) == "a ktn style of a sks owl"
    with pytest.raises(PersonaError, match="a noun for each"):
        prompts.pick("object", "sks owl", second)


def test_a_concept_gives_one_of_its_parts_alone(pipe, learned, draw):
    concept = learned(pipe, "b-lora", rank=2)
    style = schemes.only(concept, "style")
    assert [space.name for space in style.spaces] == ["style"]
    assert all(".up_blocks." in name for name in style.tensors)
    with style.attach(pipe):
        alone = draw(pipe)
    assert (alone != draw(pipe)).any()
    with pytest.raises(PersonaError, match="no part 'face'; it has content, style"):
        schemes.only(concept, "face")


def test_a_lora_that_only_keeps_something_out_does_not_act(pipe, learned, draw):
    concept = learned(pipe, "pair-customization", noun="cat and style", rank=2, accumulation=1)
    assert [(space.name, space.used) for space in concept.spaces] == [("content", False), ("style", True)]
    with concept.attach(pipe):
        both = draw(pipe)
    with schemes.only(concept, "style").attach(pipe):
        assert (draw(pipe) == both).all()
    with schemes.only(concept, "content").attach(pipe):
        assert (draw(pipe) != both).any()


@pytest.mark.evidence(level="parity", recipe="pair-customization")
def test_style_guidance_pushes_from_the_plain_to_the_styled_prediction(pipe, learned, draw):
    """eps = e + w (p - e) + w_style (s - p) (arXiv 2408.01556, equation 8); without push it has no part."""
    from diffusers_persona.functional.fusion import reward_guidance

    empty, plain, styled = (torch.full((1,), value) for value in (1.0, 2.0, 5.0))
    assert reward_guidance(empty, plain, styled, text=3.0, concept=0.5).item() == 1.0 + 3.0 * 1.0 + 0.5 * 3.0
    concept = learned(pipe, "pair-customization", noun="cat and style", rank=2, accumulation=1, lr=0.1)

    def picture(prompt, style):
        scheme, random = schemes.RewardGuidance(text=3.0, concept=style), torch.Generator().manual_seed(0)
        return scheme.draw(pipe, concept, prompt, plain="a cat", steps=2, generator=random)[0].tobytes()

    before = draw(pipe)
    assert picture("a ktn style of a cat", 0.0) == picture("a red cat", 0.0)
    assert picture("a ktn style of a cat", 0.0) != picture("a ktn style of a cat", 8.0)
    assert (draw(pipe) == before).all()


@pytest.mark.evidence(level="parity", recipe="personalized-residuals")
@pytest.mark.parametrize("convolution", [True, False])
def test_a_localized_residual_acts_where_the_words_are_attended_to(convolution):
    """out = W f + M (B A f), M = 1 where the stack's cross-attention to the words is above its median."""
    from diffusers_persona.schemes.localized import residual

    maps = {name: torch.rand(2, 3, 16, 7) for name in ("attn", "deeper.attn")}
    reading = type("Reading", (), {"maps": maps})()
    down, up, x = torch.randn(2, 5), torch.randn(5, 2), torch.randn(2, 16, 5)
    attention = (maps["attn"] + maps["deeper.attn"])[1, :, :, [2, 3]].mean((0, 2))
    mask = (attention > attention.sort().values[7]).float()
    assert mask.sum() == 8
    expected = torch.ones(2, 16, 5) + mask[None, :, None] * (x @ (up @ down).T)
    if convolution:
        kernels = down[..., None, None], up[..., None, None]
        x, ones = x.transpose(1, 2).reshape(2, 5, 4, 4), torch.ones(2, 5, 4, 4)
        found = residual(reading, list(maps), [2, 3], kernels)(None, (x,), ones).flatten(2).transpose(1, 2)
    else:
        found = residual(reading, list(maps), [2, 3], (down, up))(None, (x,), torch.ones(2, 16, 5))
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_localized_sampling_needs_the_concepts_words_and_leaves_no_trace(family, learned, draw):
    pipe = tiny_pipeline(family)
    concept = learned(pipe, "personalized-residuals", token="<one>", lr=0.1)
    scheme, before = schemes.LocalizedResiduals(), draw(pipe)
    options = dict(num_inference_steps=1, height=32, width=32, output_type="np")

    def picture(prompt):
        return torch.tensor(scheme.draw(pipe, concept, prompt, generator=torch.Generator().manual_seed(0), **options))

    prompt = f"a photo of {concept.phrase}"
    with concept.attach(pipe):
        everywhere = torch.tensor(draw(pipe, prompt, steps=1))
    assert not torch.equal(picture(prompt), everywhere)
    with pytest.raises(PersonaError, match="does not name the concept"):
        picture("a photo of the beach")
    assert (draw(pipe) == before).all()
