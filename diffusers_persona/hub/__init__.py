"""The Hub: concepts as repositories, pushed in one commit and read through the cache. Loads no torch.

Where the Hub is and who the user is comes from `huggingface_hub`: ``HF_ENDPOINT``, ``HF_TOKEN`` or ``hf auth login``,
``HF_HUB_OFFLINE``, ``HF_HOME``. A token goes into the header of a request and nowhere else.
"""

from .fetch import fetch_and, pull
from .push import push

__all__ = ["fetch_and", "pull", "push"]
