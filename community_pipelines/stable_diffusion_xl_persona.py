"""Stable Diffusion XL with concepts: `load_concept` and `unload_concept` on an otherwise stock pipeline.

pipe = DiffusionPipeline.from_pretrained(
    "path/or/id-of-the-base-model",
    custom_pipeline="community_pipelines/stable_diffusion_xl_persona.py",
    trust_remote_code=True,
)
phrase = pipe.load_concept("runs/toy")  # a concept folder, or a Hub repository of one
image = pipe(f"a {phrase} on the beach").images[0]
pipe.unload_concept()  # the base model again, bit for bit
"""

from diffusers import StableDiffusionXLPipeline

try:
    from diffusers_persona import Concept
except ImportError as error:
    raise ImportError(
        "this pipeline needs diffusers_persona: run `pip install diffusers-persona` and try again"
    ) from error


# The same class name in every file of this folder: diffusers runs each `pipeline.py` in one shared module, and two
# names there would be two pipelines to choose from.
class PersonaPipeline(StableDiffusionXLPipeline):
    """StableDiffusionXLPipeline that several learned concepts can be attached to at once."""

    def load_concept(self, path_or_repo, scale=1.0, name=None):
        """Attach a concept and return the words that call it in a prompt.

        Args:
            path_or_repo: a folder that `Concept.save_pretrained` wrote, or a Hub repository of one.
            scale: strength; 0 is the base model, 1 the concept as it was learned.
            name: how `unload_concept` will call it; the concept's token when left out.

        Raises:
            ValueError: the name is in use, or the concept does not fit this base model.
        """
        attached = self.__dict__.setdefault("_persona_attachments", {})
        concept = Concept.from_pretrained(path_or_repo)
        name = name or concept.token
        if name in attached:
            raise ValueError(
                f"a concept called {name!r} is loaded already: unload_concept({name!r}), or give another name"
            )
        attached[name] = concept.attach(self, scale=scale)
        return concept.phrase

    def unload_concept(self, name=None):
        """Detach one concept by its name, or all of them; without any left the pipeline is the base model again.

        Raises:
            KeyError: no concept of that name is loaded.
        """
        attached = self.__dict__.get("_persona_attachments", {})
        if name is not None and name not in attached:
            raise KeyError(f"no concept called {name!r} is loaded; loaded: {', '.join(attached) or 'none'}")
        for each in [name] if name is not None else list(reversed(attached)):
            attached.pop(each).detach()
