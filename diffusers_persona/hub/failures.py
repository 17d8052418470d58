"""What can go wrong between here and the Hub, each as one line with the next step, and none with a token in it."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator

from ..errors import PersonaError

MOST_LETTERS = 400
_BY_STATUS = {
    401: "the Hub does not know this token (401): log in anew with `hf auth login`, or correct HF_TOKEN",
    402: "the Hub asks for payment (402): see the settings of the account",
    403: "the token lacks the right to do this (403): make one with that right at {endpoint}/settings/tokens, or name "
    "a repository of your own",
    409: "another change is in progress (409): try again in a moment",
    412: "somebody else goes on pushing to it (412): try again in a moment",
    413: "it is too large for the Hub (413): push fewer previews or a concept of a smaller space",
    429: "too many requests (429): wait a few minutes and try again",
}
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}


@contextlib.contextmanager
def explained(subject: str, token: str | bool | None = None) -> Iterator[None]:
    """Turns what `huggingface_hub` raises inside the context into a `PersonaError` of one line.

    The original error is not shown: its text may quote the request, and with it the token.

    Args:
        subject: what the line begins with, e.g. ``"user/name: not published"``.
        token: the token in use, which no line may show; the logged-in one is never shown either.
    """
    from huggingface_hub.errors import HTTPError, XetDownloadError

    try:
        yield
    except PersonaError:
        raise
    except (HTTPError, XetDownloadError, OSError, ValueError, LookupError, RuntimeError) as error:
        line = _without_secrets(" ".join(_explanation(error).split()), token)[:MOST_LETTERS]
        raise PersonaError(f"{subject}: {line}") from None


def _explanation(error: BaseException) -> str:
    """The first explanation that fits the error or what caused it, the most telling ones first."""
    from huggingface_hub import constants, errors

    chain = list(_causes(error))
    endpoint = constants.ENDPOINT

    def first(kind):
        return next((each for each in chain if isinstance(each, kind)), None)

    if first(errors.OfflineModeIsEnabled):
        return "offline mode is on (HF_HUB_OFFLINE), and the cache does not hold it: unset the variable and try again"
    if first(errors.GatedRepoError):
        return f"the repository is gated: ask for access at {endpoint}, then log in with `hf auth login`"
    if first(errors.RepositoryNotFoundError):
        return "no such repository, or a private one: check the name, or log in with `hf auth login`"
    if first(errors.RevisionNotFoundError):
        return "the repository has no such revision: name one of its branches, tags or commits"
    if answered := first(errors.HfHubHTTPError):
        return _refusal(answered, endpoint)
    if first(errors.HFValidationError):
        return "not a repository id like 'user/concept': check the name"
    if full := next((each for each in chain if getattr(each, "errno", None) in _DISK), None):
        place, reason = getattr(full, "filename", None) or "the cache", getattr(full, "strerror", full)
        return f"{place} cannot be written ({reason}): free space, or set HF_HOME"
    if broken := first(errors.HTTPError):
        if type(broken).__name__ in ("LocalProtocolError", "UnsupportedProtocol", "InvalidURL"):
            return "the request cannot be sent: the token or HF_ENDPOINT holds characters that do not belong there"
        return f"the connection to {endpoint} failed ({type(broken).__name__}): check the network and try again"
    if first(errors.LocalEntryNotFoundError):
        return f"{endpoint} cannot be reached, and the cache does not hold it: check the network and try again"
    return f"the Hub's answer is of no use ({type(error).__name__}: {error}): check HF_ENDPOINT and try again"


def _refusal(error, endpoint: str) -> str:
    status = error.response.status_code
    if status in _BY_STATUS:
        return _BY_STATUS[status].format(endpoint=endpoint)
    if status >= 500:
        return f"the Hub has trouble ({status}): try again later"
    reason = " ".join((error.server_message or "no reason given").split())[:200]
    return f"the Hub refused ({status}, {reason}): correct that and try again"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _without_secrets(text: str, token: str | bool | None) -> str:
    from huggingface_hub import get_token

    for secret in (token, get_token()):
        if isinstance(secret, str) and secret.strip():
            text = text.replace(secret, "[token]").replace(secret.strip(), "[token]")
    return re.sub(r"\bhf_\w{8,}", "[token]", text)
