"""Image attention: the concept is a reference picture, and attention blocks through which new pictures look at it.

Source: Hao et al., ViCo, arXiv 2306.00971, section 3.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from .base import Grip, Learner, Subject

REFERENCE = "reference"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageAttention:
    """Cross-attention blocks to a reference picture, behind the last transformer block of stacks on the way up.

    The denoiser stays as it is; at each step the reference goes through it, too, which doubles the time.

    Attributes:
        every: take every n-th stack on the way up (2: numbers 0, 2, 4, 6 and 8 of Stable Diffusion's nine).
        token: the word whose attention tells where the reference shows the concept; None for the concept's own.
    """

    kind: ClassVar[str] = "image_attention"
    adds_token: ClassVar[bool] = False
    trains_text: ClassVar[bool] = False

    every: int = 2
    token: str | None = None

    def __post_init__(self):
        if self.every < 1:
            raise PersonaError(f"ImageAttention(every={self.every}): give a whole number of at least 1")

    def blocks(self, host) -> list[str]:
        """Paths of the transformer blocks that the crossings stand behind."""
        stacks = [path for name, path in host.blocks().items() if name.startswith("up.")][:: self.every]
        lengths = [len(host.denoiser.get_submodule(stack).transformer_blocks) for stack in stacks]
        return [f"{stack}.transformer_blocks.{length - 1}" for stack, length in zip(stacks, lengths)]

    def prepare(self, host, subject: Subject) -> Learner:
        """New crossings; each picture has another one of the concept's pictures as its reference."""
        import torch

        from ..attention.image_cross import crossing_like

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(subject.seed)
            crossings = {path: crossing_like(host.denoiser.get_submodule(path)) for path in self.blocks(host)}
        for crossing in crossings.values():
            crossing.to(host.device).eval()
        gallery = _gallery(host, subject)
        sight = self._look(host, crossings, gallery[:1], subject.word(self), Grip(key=()), learned=True)
        named = {f"{path}.{name}": p for path, c in crossings.items() for name, p in c.named_parameters()}

        def follow(batch, timesteps):
            others = [_another(n, int(t), len(gallery)) for n, t in zip(batch.pictures, timesteps)]
            sight.reference = gallery[others]

        return Learner(parameters=named, constants={REFERENCE: gallery[:1]}, follow=follow)

    def attach(self, host, tensors, grip: Grip):
        """Hooks the crossings into the host; the reference is the tensor ``"reference"`` [1, c, h, w]."""
        from ..attention.image_cross import crossing_like

        reference = tensors.get(REFERENCE)
        if reference is None or reference.ndim != 4 or reference.shape[1] != host.denoiser.config.in_channels:
            given = "no reference picture" if reference is None else f"a reference of shape {tuple(reference.shape)}"
            raise PersonaError(
                f"the concept has {given}; give it one with schemes.with_reference(concept, pipe, picture)"
            )
        crossings = {}
        for path, own in _by_block(tensors).items():
            block, _ = host.locate(host.denoiser, path, f"{host.denoiser_name}.{path}")
            crossings[path] = crossing = crossing_like(block)
            wanted = {name: tuple(p.shape) for name, p in crossing.named_parameters()}
            wrong = {n for n in wanted.keys() | own.keys() if n not in own or wanted.get(n) != tuple(own[n].shape)}
            if wrong:
                name = min(wrong)
                given = tuple(own[name].shape) if name in own else "missing"
                raise PersonaError(
                    f"layer {path}.{name}: the concept's tensor is {given}, the model asks for "
                    f"{wanted.get(name, 'none')}; attach it to the kind of model that it was learned on"
                )
            crossing.load_state_dict(own)
            crossing.requires_grad_(False).eval()
        self._look(host, crossings, reference, self.token, grip)

    def _look(self, host, crossings, reference, word, grip: Grip, learned: bool = False):
        from ..attention.image_cross import ImageCrossSite, Sight, Spotter
        from .text_sites import edit_text

        name = host.encoder_names[0]
        tokenizer = host.tokenizers[name]
        spotter = Spotter(lambda: tokenizer.convert_tokens_to_ids(word), tokenizer.eos_token_id)
        edit_text(host, name, spotter.note, grip)
        site, sight = (
            ImageCrossSite.of(host.denoiser),
            Sight(crossings, reference, spotter, lambda: grip.strength, learned),
        )
        site.add(grip.key, sight)
        grip.releases.append(lambda: site.remove(sight))
        return sight


def _gallery(host, subject):
    """The latents of the concept's pictures, [N, c, h, w]."""
    import torch

    with torch.no_grad():
        return torch.cat([host.encode_images(p[None])[0].float() for p in subject.pictures.pixels(subject.resolution)])


def _another(number: int, timestep: int, count: int) -> int:
    """A picture other than `number`, if there is one; which one changes with the timestep."""
    return number if count == 1 else (number + 1 + timestep % (count - 1)) % count


def _by_block(tensors) -> dict[str, dict]:
    """Path of a block -> name of a parameter -> tensor."""
    found: dict[str, dict] = {}
    for key, tensor in tensors.items():
        if key != REFERENCE:
            stack, _, rest = key.partition(".transformer_blocks.")
            number, _, name = rest.partition(".")
            if not name:
                raise PersonaError(f"key {key!r} is no tensor of image attention (<block>.<parameter> or 'reference')")
            found.setdefault(f"{stack}.transformer_blocks.{number}", {})[name] = tensor
    return found
