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


# --------------------------------------------------------------------------------------------------------------- LoRAs


@pytest.fixture
def two(pipe, learned):
    """A subject LoRA and a style LoRA of different ranks."""
    first = learned(pipe, "lora", token="sks", noun="dog", seed=0, rank=2)
    second = learned(pipe, "ziplora", token="ktn", noun="painting", seed=1, rank=3)
    return first, second


def weights(pipe, concept=None):
    """Every attention weight of the denoiser with `concept` attached."""
    attached = concept.attach(pipe) if concept is not None else None
    found = {
        n: p.detach().clone() for n, p in pipe.unet.named_parameters() if n.endswith(("to_q.weight", "to_k.weight"))
    }
    if attached is not None:
        attached.detach()
    return {name.replace("._persona", ""): value for name, value in found.items() if "_persona" not in name}


def test_a_sum_of_loras_is_one_lora_of_their_ranks(pipe, two):
    both = merge(two, pipe, how="sum", weight=0.6)
    assert [space.rank for space in both.spaces] == [5]
    base, merged, alone = weights(pipe), weights(pipe, both), [weights(pipe, each) for each in two]
    for name, stock in base.items():
        expected = stock + 0.6 * sum(own[name] - stock for own in alone)
        assert torch.allclose(merged[name], expected, atol=1e-5)


def test_loras_on_drawn_bases_read_nothing_of_each_other(pipe, pictures):
    """Orthogonal Adaptation: dW_i x = 0 for inputs x that another concept reads (arXiv 2312.02432, equation 8)."""
    from diffusers_persona import inversion, learn, losses, schemes, spaces
    from diffusers_persona.recipe import Recipe

    declared = Recipe(
        space=spaces.LowRank(rank=2, basis="drawn"),
        method=inversion.Optimization(steps=1, lr=0.1, losses=[losses.Denoising()]),
        scheme=schemes.Prompting(),
        data=inversion.Data(prompts=inversion.prompts.Fixed("a {phrase}")),
        merge=schemes.Sum(orthogonal=True),
    )
    concepts = [learn(pipe, pictures, declared, token=t, noun="dog", progress=False) for t in ("sks", "ktn")]
    downs = [next(v for k, v in c.tensors.items() if k.endswith("attn1.to_q.lora_A.weight")) for c in concepts]
    assert downs[0].shape == (2, 32) and not torch.equal(*downs)
    both = schemes.Sum(orthogonal=True)(concepts, pipe, schemes.Materials())
    assert both.header["training"]["overlap"] < 1e-3
    with pytest.warns(UserWarning, match="read the same inputs"):
        schemes.Sum(orthogonal=True)([concepts[0], concepts[0]], pipe, schemes.Materials())


@pytest.mark.evidence(level="parity", recipe="ziplora")
def test_columns_are_learned_until_each_lora_does_what_it_did_alone(pipe, two, pictures):
    from diffusers_persona.schemes.merging_parts import Materials
    from diffusers_persona.schemes.pair import Pair

    materials = Materials(pictures=(pictures[:1], pictures[1:2]), seed=3)
    pair = Pair.of(two, pipe, materials, prompt="a {phrase}", batch_size=1)
    ones = {path: [torch.ones(width)] * 2 for path, width in pair.shared().items()}
    before = float(pair.loss(ones, 0).detach())
    both = merge(
        two, pipe, how="ziplora", pictures=[pictures[:1], pictures[1:2]], seed=3, merge_steps=12, merge_lr=0.1
    )
    assert both.phrase == "sks dog in ktn painting"
    assert both.header["training"]["loss"] < before
    factor = next(k for k in both.tensors if k.endswith("attn1.to_q.lora_A.weight"))
    downs = [c.tensors[factor] for c in two]
    scaled = both.tensors[factor] / torch.cat(downs)
    assert torch.allclose(scaled[:2], scaled[:1].expand(2, -1), atol=1e-4), "one coefficient a column for all ranks"
    assert not torch.allclose(scaled[0], torch.ones(32), atol=1e-3)


def test_a_pair_of_loras_acts_as_the_attached_ones_do(pipe, two, pictures):
    """The hooks of learning and the folded merge are the same function."""
    from diffusers_persona import backbones
    from diffusers_persona.schemes.merging_parts import Materials
    from diffusers_persona.schemes.pair import Pair

    pair = Pair.of(two, pipe, Materials(pictures=(pictures[:1], pictures[:1])), prompt="a {phrase}", batch_size=1)
    host, noisy, times = backbones.of(pipe), torch.randn(2, 4, 16, 16), torch.tensor([300, 300])
    conditions = host.encode_text(host.tokenize(["a sks dog", "a ktn painting"]))
    with torch.no_grad():
        teachers = pair.host.denoise(noisy, times, conditions)
        for n, concept in enumerate(two):
            with concept.attach(pipe):
                alone = host.denoise(noisy, times, conditions)
            assert torch.allclose(teachers[n], alone[n], atol=1e-4)
        pair.columns = {}
        with merge(two, pipe, how="sum").attach(pipe):
            assert torch.allclose(
                pair.host.denoise(noisy, times, conditions), host.denoise(noisy, times, conditions), atol=1e-4
            )


@pytest.mark.evidence(level="parity", recipe="lora-rar")
def test_a_network_learns_to_merge_pairs_and_merges_others_from_its_file(pipe, two, pictures, tmp_path):
    from safetensors.torch import save_file

    from diffusers_persona import schemes

    with pytest.raises(PersonaError, match="needs its trained network"):
        merge(two, pipe, how="lora-rar", network=None)
    curve = []
    network = schemes.train_merging_network(
        pipe,
        [(*two, pictures[:1], pictures[1:2])],
        epochs=3,
        hidden=8,
        report=lambda done, of: curve.append((done, of)),
    )
    assert curve[-1] == (3, 3)
    assert network["output.1.weight"].shape == (2, 8) and network["input_1.weight"].shape == (8, 64)
    save_file(network, tmp_path / "network.safetensors")
    both = merge(two, pipe, how="lora-rar", network=str(tmp_path / "network.safetensors"))
    for projection, same in (("to_q", False), ("to_v", True)):
        factor = next(k for k in both.tensors if k.endswith(f"attn1.{projection}.lora_A.weight"))
        assert torch.allclose(both.tensors[factor], torch.cat([c.tensors[factor] for c in two]), atol=1e-6) == same
    foreign = {**network, "input_1.weight": torch.zeros(8, 10), "input_2.weight": torch.zeros(8, 12)}
    save_file(foreign, tmp_path / "foreign.safetensors")
    with pytest.raises(PersonaError, match="trained for another model"):
        merge(two, pipe, how="lora-rar", network=str(tmp_path / "foreign.safetensors"))


@pytest.mark.evidence(level="parity", recipe="b-lora")
def test_the_content_of_one_run_meets_the_style_of_another(pipe, learned):
    runs = [
        learned(pipe, "b-lora", token=t, noun=n, seed=i, rank=2)
        for i, (t, n) in enumerate((("sks", "dog"), ("ktn", "style")))
    ]
    both = merge(runs, pipe)
    assert [space.name for space in both.spaces] == ["content", "style"]
    for name, tensor in both.tensors.items():
        assert torch.equal(tensor, runs[int(name[0])].tensors[name])
    assert both.phrase == "sks dog in ktn style"


@pytest.mark.evidence(level="parity", recipe="mix-of-show")
def test_gradient_fusion_keeps_what_each_concept_does_better_than_a_sum(pipe, two):
    fused = merge(two, pipe, how="gradient-fusion", steps=1, rows=64, iterations=30, prompts=("a {phrase}",))
    assert [space.kind for space in fused.spaces] == ["weights"]
    summed, merged, base = weights(pipe, merge(two, pipe, how="sum")), weights(pipe, fused), weights(pipe)
    name = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    errors = {"fused": 0.0, "summed": 0.0}
    for concept in two:
        with torch.no_grad(), concept.attach(pipe):
            ids = pipe.tokenizer(f"a {concept.phrase}", padding="max_length", return_tensors="pt").input_ids
            states = pipe.text_encoder(ids)[0][0]
            own = states @ pipe.unet.get_parameter(name).T
        errors["fused"] += float((states @ merged[name].T - own).norm())
        errors["summed"] += float((states @ summed[name].T - own).norm())
    assert errors["fused"] < 0.5 * errors["summed"]
    assert not torch.allclose(merged[name], base[name])


def test_merges_are_refused_in_one_line_where_they_make_no_sense(pipe, two, learned):
    word = learned(pipe, "textual-inversion", token="<one>")
    with pytest.raises(PersonaError, match="takes LoRAs"):
        merge([two[0], word], pipe, how="sum")
    with pytest.raises(PersonaError, match="takes two concepts"):
        merge([*two, two[0]], pipe, how="ziplora")
    with pytest.raises(PersonaError, match="there is no merge 'glue'"):
        merge(two, pipe, how="glue")
    with pytest.raises(PersonaError, match="pictures= holds 1 entries for 2 concepts"):
        merge(two, pipe, how="ziplora", pictures=["one"])
    with pytest.raises(PersonaError, match="has no part 'content'"):
        merge(two, pipe, how="content-and-style")


@pytest.mark.evidence(level="parity", recipe="cones")
def test_neurons_of_two_concepts_become_their_union(pipe, learned):
    runs = [learned(pipe, "cones", token=token, seed=n, lr=2e-5) for n, token in enumerate(("sks", "ktn"))]
    both = merge(runs, pipe)
    for name, indices in both.tensors.items():
        owners = [set(run.tensors[name].tolist()) for run in runs if name in run.tensors]
        assert set(indices.tolist()) == set().union(*owners)
    with runs[0].attach(pipe), runs[1].attach(pipe):
        side_by_side = weights(pipe)
    assert all(torch.equal(value, side_by_side[name]) for name, value in weights(pipe, both).items())


def test_two_ed_loras_become_one_model_that_knows_both_words(pipe, learned, draw, tmp_path):
    first = learned(pipe, "mix-of-show", token="<one>", noun="dog", seed=0, rank=2)
    second = learned(pipe, "mix-of-show", token="<two>", noun="cat", seed=1, rank=2)
    numbers = dict(steps=1, rows=64, iterations=10, text_iterations=20, prompts=("a {phrase}",))
    both = merge([first, second], pipe, how="gradient_fusion", **numbers)
    assert [space.kind for space in both.spaces] == ["p_plus", "p_plus", "weights"]
    assert any(name.startswith("2.weights.text_encoder.") for name in both.tensors)
    both = Concept.from_pretrained(both.save_pretrained(tmp_path / "both"))
    base = draw(pipe)
    with both.attach(pipe):
        assert (draw(pipe, "a photo of <one>") != draw(pipe, "a photo of <two>")).any()
    assert (draw(pipe) == base).all()
