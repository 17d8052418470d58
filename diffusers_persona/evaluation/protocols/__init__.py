"""The benchmarks of the literature as declarations: where their subjects, pictures and prompts come from.

Their data is never shipped: a protocol reads a copy on the reader's disk, by parsers of its own. Loads no torch.
"""

from pathlib import Path

from diffusers_persona.errors import PersonaError

from .base import Protocol
from .customconcept101 import CUSTOMCONCEPT101, CUSTOMCONCEPT101_PAIRS
from .dreambench import DREAMBENCH
from .dreambench_plus import DREAMBENCH_PLUS
from .folder import FOLDER

PROTOCOLS = {
    protocol.id: protocol for protocol in (DREAMBENCH, DREAMBENCH_PLUS, CUSTOMCONCEPT101, CUSTOMCONCEPT101_PAIRS)
}

__all__ = ["FOLDER", "PROTOCOLS", "Protocol", "protocol"]


def protocol(name: str) -> Protocol:
    """The protocol called `name`, or the one of a user's own folder.

    Raises:
        PersonaError: it is neither.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    if Path(name).is_dir():
        return FOLDER
    known = ", ".join(PROTOCOLS)
    raise PersonaError(f"no benchmark and no folder is called {name!r}: choose one of toybench, {known}, or a folder")
