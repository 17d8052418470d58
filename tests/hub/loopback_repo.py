"""A repository of the loopback Hub: commits in memory, and branches and tags that point into them."""

import hashlib
from dataclasses import dataclass, field


def git_oid(content: bytes) -> str:
    """What git calls a blob of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sha256(content: bytes) -> str:
    """What LFS calls it."""
    return hashlib.sha256(content).hexdigest()


@dataclass
class Repo:
    """One repository: `commits` (id -> files), and the branches and tags that point into them."""

    private: bool = False
    gated: bool = False
    commits: dict = field(default_factory=dict)
    branches: dict = field(default_factory=dict)
    tags: dict = field(default_factory=dict)
    messages: list = field(default_factory=list)

    def commit(self, branch: str, files: dict, message: str) -> str:
        """Makes one commit on `branch` and returns its id."""
        self.messages.append(message)
        oid = hashlib.sha1(f"{len(self.messages)} {branch} {message}".encode()).hexdigest()
        self.commits[oid] = dict(files)
        self.branches[branch] = oid
        return oid

    def resolve(self, revision: str) -> str | None:
        """The commit that a branch, a tag or a commit id means."""
        return (self.branches | self.tags | {oid: oid for oid in self.commits}).get(revision)

    def files(self, revision: str = "main") -> dict:
        """Path -> content at a revision."""
        return self.commits[self.resolve(revision)]
