"""A small Hub on loopback: the part of the Hub's HTTP API that `huggingface_hub` uses to push and to pull a model.

It keeps repositories in memory as commits (path -> bytes) under branches and tags, checks tokens, and breaks a chosen
request on demand (`LoopbackHub.fail`). Every request is recorded in `LoopbackHub.requests`.
"""

import base64
import json
import re
import socket
import threading
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml
from loopback_repo import Repo, git_oid, sha256

LARGE = (".safetensors", ".png")
ANNA, READER, BOB = "hf_annas_secret_token", "hf_annas_reading_token", "hf_bobs_secret_token"
TOKENS = {ANNA: ("anna", "write"), READER: ("anna", "read"), BOB: ("bob", "write")}


class LoopbackHub:
    """The server: `with LoopbackHub() as hub:` listens at `hub.url` in threads of its own."""

    def __init__(self):
        self.repos, self.objects, self.requests = {}, {}, []
        self.lock, self.failures = threading.RLock(), Counter()
        self.before_commit = lambda: None
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def fail(self, route: str, how: str | int = "drop", times: int = 1000):
        """The next `times` requests to `route` fail: ``"drop"`` cuts the connection, ``"cut"`` does so in the middle
        of the answer's body, ``"flip"`` falsifies a byte of the body, a number is an HTTP status."""
        self.failures[route, how] = times

    def add(self, repo_id: str, files: dict, **facts) -> Repo:
        """Puts a repository with one commit here, past the API."""
        repo = self.repos[repo_id] = Repo(**facts)
        repo.commit("main", files, "initial commit")
        return repo

    def taken(self, route: str):
        """The failure that this request suffers, or None."""
        with self.lock:
            for (name, how), left in self.failures.items():
                if name == route and left:
                    self.failures[name, how] -= 1
                    return how
        return None


ROUTES = [
    ("create", "POST", r"/api/repos/create"),
    ("yaml", "POST", r"/api/validate-yaml"),
    ("refs", "GET", r"/api/models/(?P<repo>[^/]+/[^/]+)/refs"),
    ("branch", "POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/branch/(?P<revision>.+)"),
    ("preupload", "POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/preupload/(?P<revision>.+)"),
    ("commit", "POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/commit/(?P<revision>.+)"),
    ("tree", "GET", r"/api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)"),
    ("info", "GET", r"/api/models/(?P<repo>[^/]+/[^/]+)(/revision/(?P<revision>.+))?"),
    ("batch", "POST", r"/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch"),
    ("upload", "PUT", r"/objects/(?P<oid>[0-9a-f]{64})"),
    ("head", "HEAD", r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)"),
    ("file", "GET", r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)"),
]
WRITING = ("create", "branch", "preupload", "commit", "batch")


class Refused(Exception):
    """An answer that is an error: status, message, the Hub's error code, and what else its body holds."""

    def __init__(self, status: int, message: str, code: str = "", **facts):
        self.status, self.message, self.code, self.facts = status, message, code, facts


class Handler(BaseHTTPRequestHandler):
    """One method a route, `on_<route>`; what it returns is sent as JSON."""

    protocol_version = "HTTP/1.1"
    failure = None

    def handle(self):
        with suppress(ConnectionError, ValueError):
            super().handle()

    def log_message(self, *_):
        pass

    def serve(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        fits = [(route, re.fullmatch(rule, url.path)) for route, method, rule in ROUTES if method == self.command]
        route, match = next((found for found in fits if found[1]), (None, None))
        if match is None:
            return self.reply(404, {"error": f"no such route: {self.command} {url.path}"})
        self.hub.requests.append((route, unquote(url.path), self.headers.get("Authorization")))
        self.failure = self.hub.taken(route)
        if self.failure == "drop":
            return self.drop()
        words = {name: unquote(word) for name, word in match.groupdict().items() if word}
        try:
            if isinstance(self.failure, int):
                raise Refused(self.failure, "a failure on demand")
            self.user, self.role = self.visitor()
            with self.hub.lock:
                self.check(route, words)
                answer = getattr(self, f"on_{route}")(**words)
        except Refused as error:
            headers = {"X-Error-Message": error.message} | ({"X-Error-Code": error.code} if error.code else {})
            return self.reply(error.status, {"error": error.message, **error.facts}, headers)
        if answer is not None:
            self.reply(200, answer)

    do_GET = do_POST = do_PUT = do_HEAD = serve

    def visitor(self):
        header = self.headers.get("Authorization")
        if header is None:
            return None, None
        if header.removeprefix("Bearer ") not in TOKENS:
            raise Refused(401, "Invalid credentials in Authorization header")
        return TOKENS[header.removeprefix("Bearer ")]

    def check(self, route, words):
        """Refuses what the visitor may not do, and finds the repository."""
        name = words.get("repo", f"{self.user}/")
        self.repo, owner = self.hub.repos.get(name), self.user == name.split("/")[0]
        if route in WRITING and self.role is None:
            raise Refused(401, "Invalid username or password.")
        if "repo" in words and (self.repo is None or (self.repo.private and not owner)):
            raise Refused(404 if self.user else 401, "Repository not found", "RepoNotFound")
        if route in WRITING and not (owner and self.role == "write"):
            raise Refused(403, "You don't have the required permissions to perform this action.")
        if route in ("file", "head") and self.repo.gated and not owner:
            raise Refused(403, f"Access to model {name} is restricted", "GatedRepo")

    def at(self, revision="main"):
        """The commit that `revision` means."""
        oid = self.repo.resolve(revision)
        if oid is None:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return oid

    def drop(self):
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def reply(self, status, content, headers=()):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(data)), **dict(headers)}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.failure == "cut":
            self.wfile.write(data[: len(data) // 2])
            return self.drop()
        self.wfile.write(data)

    # ---------------------------------------------------------------------------------------------------- the routes

    def on_yaml(self):
        front = json.loads(self.body)["content"].split("---\n")[1]
        if not isinstance(yaml.safe_load(front), dict):
            raise Refused(400, "the metadata is no mapping")
        return {"errors": [], "warnings": []}

    def on_create(self):
        asked = json.loads(self.body)
        if asked.get("organization") not in (None, self.user):
            raise Refused(403, f"You have no rights in the namespace {asked['organization']}")
        name = f"{self.user}/{asked['name']}"
        if name in self.hub.repos:
            raise Refused(409, "You already created this model repo", url=f"{self.hub.url}/{name}")
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.add(name, {".gitattributes": b"*.safetensors filter=lfs\n"}, private=private)
        return {"url": f"{self.hub.url}/{name}", "name": name, "id": name}

    def on_info(self, repo, revision="main"):
        oid = self.at(revision)
        siblings = [{"rfilename": path} for path in sorted(self.repo.commits[oid])]
        return {"id": repo, "sha": oid, "private": self.repo.private, "gated": self.repo.gated, "siblings": siblings}

    def on_refs(self, repo):
        def listed(place, names):
            return [{"name": n, "ref": f"refs/{place}/{n}", "targetCommit": oid} for n, oid in names.items()]

        branches, tags = listed("heads", self.repo.branches), listed("tags", self.repo.tags)
        return {"branches": branches, "tags": tags, "converts": []}

    def on_branch(self, repo, revision):
        if revision in self.repo.branches:
            raise Refused(409, "Reference already exists")
        self.repo.branches[revision] = self.at(json.loads(self.body or b"{}").get("startingPoint", "main"))
        return {}

    def on_tree(self, repo, revision):
        entries = []
        for path, content in sorted(self.repo.commits[self.at(revision)].items()):
            entries.append({"type": "file", "path": path, "size": len(content), "oid": git_oid(content)})
            if path.endswith(LARGE):
                entries[-1]["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 120}
        return entries

    def on_preupload(self, repo, revision):
        files = self.repo.commits[self.at(revision)]
        answers = []
        for asked in json.loads(self.body)["files"]:
            path, large = asked["path"], asked["path"].endswith(LARGE)
            answer = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            if path in files:
                answer["oid"] = sha256(files[path]) if large else git_oid(files[path])
            answers.append(answer)
        return {"files": answers}

    def on_batch(self, repo):
        objects = json.loads(self.body)["objects"]
        for entry in objects:
            if entry["oid"] not in self.hub.objects:
                entry["actions"] = {"upload": {"href": f"{self.hub.url}/objects/{entry['oid']}"}}
        return {"transfer": "basic", "objects": objects}

    def on_upload(self, oid):
        if sha256(self.body) != oid:
            raise Refused(400, "the content does not match its name")
        self.hub.objects[oid] = self.body
        return {}

    def on_commit(self, repo, revision):
        self.hub.before_commit()
        head, *operations = [json.loads(line) for line in self.body.splitlines()]
        if revision not in self.repo.branches:
            raise Refused(400, f"{revision} is no branch")
        parent = head["value"].get("parentCommit")
        if parent not in (None, self.repo.branches[revision]):
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        files = dict(self.repo.files(revision))
        for operation in operations:
            key, value = operation["key"], operation["value"]
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
        oid = self.repo.commit(revision, files, head["value"]["summary"])
        return {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{repo}/commit/{oid}"}

    def on_file(self, repo, revision, path):
        oid = self.at(revision)
        content = self.repo.commits[oid].get(path)
        if content is None:
            raise Refused(404, "Entry not found", "EntryNotFound")
        etag = sha256(content) if path.endswith(LARGE) else git_oid(content)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": oid, "Content-Type": "application/octet-stream"}
        if self.failure == "flip":
            content = content[:-3] + bytes([content[-3] ^ 0xFF]) + content[-2:]
        start = int(self.headers.get("Range", "bytes=0-")[len("bytes=") : -1])
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.reply(206 if start else 200, content[start:], headers)

    on_head = on_file
