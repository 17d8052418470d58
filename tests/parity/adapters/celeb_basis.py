"""Yuan et al., Celeb Basis, arXiv 2306.00926: the basis of names, its coefficients, the mapper and the placeholder."""

import torch
import torch.nn.functional as F

from diffusers_persona.encoders.mapper import Mapper
from diffusers_persona.functional.names import in_basis, name_basis, unit
from diffusers_persona.spaces.tokens import ConceptTokens
from diffusers_persona.testing import tokenizer

RECIPE = "celeb-basis"
SIGN_FREE = ("basis",)
FIRST_SPECIAL = 49406  # of CLIP's vocabulary


def basis(config, t):
    """Positions beside the start token, each with the names that have a word there."""
    columns = [t["embedding_table"][ids[ids < FIRST_SPECIAL]] for ids in t["tokens"].T]
    columns = [column for column in columns if len(column)][: config["num_embeds_per_token"]]
    pairs = [name_basis(column, config["n_components"]) for column in columns]
    mean, found = (torch.stack(part) for part in zip(*pairs))
    return {"mean": mean, "basis": found, "projector": found.transpose(1, 2) @ found}


def coefficients(config, t):
    celebs = t["celeb_embeddings"]
    return {"words": in_basis(t["id_coefficients"][:, 0], celebs[:, 0], celebs[:, 1:])}


def mapper(config, t):
    celebs, weights = t["celeb_embeddings"], {}
    for name, value in t.items():
        if name.startswith("weights/stylegan_mlp.net."):
            layer, _, kind = name.removeprefix("weights/stylegan_mlp.net.").partition(".")
            kind = kind.removeprefix("fn.")
            norm = kind.startswith("norm.")
            where = f"norms.{int(layer) - 1}" if norm else f"layers.{layer}"
            weights[f"{where}.{kind.removeprefix('norm.')}"] = value
    network = Mapper(config["fr_dim"], len(weights["layers.0.bias"]), depth=config["mlp_depth"])
    network.load_state_dict(weights)
    with torch.no_grad():
        found = network(F.normalize(t["face_features"], dim=-1))
    found = unit(found.view(len(found), config["num_embeds_per_token"], config["inner_dim"]))
    return {"coefficients": found[:, :, None], "words": in_basis(found, celebs[:, 0], celebs[:, 1:])}


def placeholder(config, t):
    """A word of n vectors takes n places in the prompt, and what does not fit falls off its end."""
    ids, n = t["tokens"].tolist(), config["reps"]
    tokens, words = ConceptTokens(tokenizer()), [f"<{i}>" for i in range(len(ids))]
    places = [i for i, token in enumerate(ids) if token in config["rep_tokens"]]
    for i in places:
        tokens.tables[words[i]] = torch.zeros(n, 1)
    expanded = tokens.expand(" ".join(words)).split(" ")[: len(ids)]
    sources = [words.index(word.partition("_")[0]) for word in expanded]
    positions = [[at for at, source in enumerate(sources) if source == place] for place in places]
    return {"embeddings": t["embeddings"][sources], "positions_0": torch.tensor(positions)}


def run(case, config, t):
    """By the case's official symbol."""
    symbol = case["official"]["symbol"]
    if "celeb_embeddings" in symbol and "basis" in case["outputs"]:
        return basis(config, t)
    if "shift" in symbol:
        return placeholder(config, t)
    return mapper(config, t) if "face_features" in t else coefficients(config, t)
