"""To the Hub: a concept's folder as one commit, all of it or nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..card import STOCK_FILES
from ..consent import with_consent
from ..errors import PersonaError
from .failures import explained

TRIES, MOVED_ON = 3, 412


def push(
    concept: Any,
    repo: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    commit_message: str | None = None,
    consent: bool = False,
) -> str:
    """Publishes a concept as a model repository, which is made where there is none.

    Everything is checked here before the first request; the files arrive in one commit on top of the state that was
    seen, so that two pushes at once come one after the other and never mix. What an older push left and this concept
    lacks (previews, stock files) is removed in the same commit. Pushing what is there already makes no commit.

    Args:
        concept: the `Concept`.
        repo: ``"user/name"``.
        private: visibility of the repository; the account's default when left out.
        revision: branch, made from the main one where there is none.
        token: of the Hub; the logged-in one when left out. It is sent, and written nowhere.
        commit_message: one line.
        consent: the publisher states that every person shown agreed; needed for people.

    Returns:
        URL of the commit.

    Raises:
        PersonaError: in one line: no consent, a damaged concept, no token or a wrong one, no right to write, a broken
            connection.
    """
    from ..concept import TENSOR_FILE, Concept, read_tensors

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise PersonaError(f"{repo}: not a repository id like 'user/concept'; put your user name before a slash")
    header = with_consent(concept.header, consent)
    published = Concept(header=header, tensors=concept.tensors, previews=concept.previews, scores=concept.scores)
    contents = published.contents(repo=repo, revision=revision)
    read_tensors(contents[TENSOR_FILE], Path(TENSOR_FILE))
    with explained(f"{repo}: not published", token):
        api = _api(token)
        api.create_repo(repo, private=private, exist_ok=True)
        _check_visibility(api, repo, private)
        branch = _branch(api, repo, revision)
        message = commit_message or f"Concept {concept.phrase} with {header['recipe']}"
        return _commit(api, repo, branch, contents, message, TRIES)


def _api(token):
    from huggingface_hub import HfApi, get_token

    if not (token if isinstance(token, str) else get_token()):
        raise PersonaError("pushing needs a token of the Hub: log in with `hf auth login`, or set HF_TOKEN")
    return HfApi(token=token, library_name="diffusers-persona")


def _branch(api, repo, revision) -> str:
    """The name of the branch to commit to; made where there is none.

    Raises:
        PersonaError: `revision` is a tag or a commit, which never changes.
    """
    if revision in (None, "main"):
        return "main"
    refs = api.list_repo_refs(repo)
    if revision in {tag.name for tag in refs.tags} or re.fullmatch(r"[0-9a-f]{40}", revision):
        raise PersonaError(f"{repo}: {revision} is a tag or a commit, which never change; push to a branch")
    if revision not in {branch.name for branch in refs.branches}:
        api.create_branch(repo, branch=revision, exist_ok=True)
    return revision


def _check_visibility(api, repo, private):
    """A repository that was there before keeps its visibility: it must be the one that was asked for."""
    present = bool(api.model_info(repo).private)
    if private is not None and present != private:
        state = "private" if present else "public"
        raise PersonaError(
            f"{repo}: not published: the repository is {state} already; change that in its settings, or name another"
        )


def _commit(api, repo, branch, contents, message, tries) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    present = api.model_info(repo, revision=branch)
    there = {sibling.rfilename for sibling in present.siblings or ()}
    operations = [CommitOperationDelete(name) for name in sorted(there - set(contents)) if _is_ours(name)]
    operations += [CommitOperationAdd(name, content) for name, content in contents.items()]
    try:
        commit = api.create_commit(
            repo, operations, commit_message=message, revision=branch, parent_commit=present.sha
        )
    except HTTPError as error:
        # Either somebody pushed in between, or no answer came: then what did arrive is not committed again.
        again = not isinstance(error, HfHubHTTPError) or error.response.status_code == MOVED_ON
        if not again or tries == 1:
            raise
        return _commit(api, repo, branch, contents, message, tries - 1)
    return commit.commit_url


def _is_ours(name: str) -> bool:
    """Whether a file of the repository can only stem from an older push of a concept."""
    if "/" in name:
        return re.fullmatch(r"previews/[^/]+\.png", name) is not None
    return name == "scores.json" or name.endswith(tuple(STOCK_FILES))
