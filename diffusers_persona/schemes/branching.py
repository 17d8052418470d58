"""Branches of a tree of concepts: pictures of one word of a concept, to learn its own parts from."""

from __future__ import annotations


def branch(
    pipe, concept, word: str, *, made: int = 40, keep: int = 10, steps: int = 25, guidance: float = 7.5, seed=0
):
    """Pictures (PIL) of one of a concept's words: of those that it makes, the ones that are most alike.

    ``learn(pipe, branch(pipe, concept, "<toy-right>"), "inspiration-tree", ...)`` grows the tree by a level.

    Source: Inspiration Tree, arXiv 2305.18203, the children's sets.

    Args:
        pipe: a pipeline that the concept is not attached to; it is left as it was.
        concept: a `Concept` of several words.
        word: one of them, e.g. ``"<toy-right>"``.
        made, keep: how many pictures are made, and how many of them are given.
        steps, guidance: of sampling.
        seed: of the first picture; the others follow it.

    Raises:
        PersonaError: the concept does not have that word.
    """
    import torch

    from .. import backbones
    from ..encoders.clip import image_features
    from ..errors import PersonaError
    from ..functional.consistency import most_alike
    from ..inversion.images import to_tensor

    words = [space.token for space in concept.spaces if space.adds_token]
    if word not in words:
        raise PersonaError(f"the concept has no word {word!r}; it has {', '.join(words) or 'none'}")
    host, pictures = backbones.of(pipe), []
    with concept.attach(pipe):
        for number in range(made):
            random = torch.Generator().manual_seed(seed + number)
            pictures += pipe(word, num_inference_steps=steps, guidance_scale=guidance, generator=random).images
    with torch.no_grad():
        pixels = torch.stack([to_tensor(picture, host.resolution) for picture in pictures]).to(host.device)
        seen = image_features(host).images(pixels)
    return [pictures[i] for i in most_alike(seen.float(), keep)]
