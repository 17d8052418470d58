"""Files as malice and bad luck make them: `mutant(random, name, content)` changes one sound file at random.

Blind changes work on bytes; the others know safetensors and JSON well enough to lie about shapes, types, offsets,
names and depth. `TRAPS` are whole files that try to run code or to write elsewhere when they are read.
"""

import copy
import io
import json
import os
import pickle
import struct
import zipfile

NAMES = (
    "../../escape",
    "/etc/passwd",
    "a" * 5000,
    "",
    "\x00",
    "0.word",
    "0.weights.unet.x",
    "__metadata__",
    "é\ud800",
)
DTYPES = ("F64", "I64", "BOOL", "F8_E4M3", "F4", "Q9", "", 7, None, "BF16", "U8")
VALUES = (None, True, -1, 0, 1.5, 1e308, 10**30, "", "../../x", "x" * 3000, [], {}, [[]], {"a": {"b": []}}, [None, {}])


# ---------------------------------------------------------------------------------------------------------- any bytes


def flipped(random, content):
    """One to eight bytes changed."""
    changed = bytearray(content)
    for _ in range(random.randint(1, 8)):
        if changed:
            changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed)


def flipped_early(random, content):
    """Bytes changed where headers are."""
    return flipped(random, content[:300]) + content[300:]


def cut(random, content):
    """Cut short."""
    return content[: random.randrange(len(content) + 1)]


def padded(random, content):
    """Followed by junk."""
    return content + random.randbytes(random.randint(1, 500))


def moved(random, content):
    """A block written over another one."""
    if len(content) < 4:
        return b""
    start, size = random.randrange(len(content)), random.randint(1, 200)
    target = random.randrange(len(content))
    return content[:target] + content[start : start + size] + content[target + size :]


def huge_length(random, content):
    """A length field of any size in front."""
    return struct.pack("<Q", random.choice((0, 1, 2**31, 2**40, 2**63, 2**64 - 1, len(content)))) + content[8:]


def replaced(random, content):
    """Something else altogether."""
    return random.choice((b"", b"\0" * 5000, b"{" * 20_000, b"[" * 100_000, b'{"a":' * 60_000, b"null", b"\xff\xfe{}"))


# --------------------------------------------------------------------------------------------------------- safetensors


def lying_header(random, content):
    """A safetensors file whose header is well-formed JSON and says something else about the same data."""
    size = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    for _ in range(random.randint(1, 3)):
        _lie(random, header)
    text = json.dumps(header)
    if random.random() < 0.2:  # the same key twice
        text = text[:-1] + "," + json.dumps(dict(list(header.items())[-1:]))[1:]
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw + data


def _lie(random, header):
    name = random.choice([key for key in header if key != "__metadata__"] or ["x"])
    entry = header.get(name)
    kind = random.randrange(7)
    if not isinstance(entry, dict) or kind == 0:
        header[name] = copy.deepcopy(random.choice(VALUES))
    elif kind == 1:
        header[random.choice(NAMES)] = header.pop(name)
    elif kind == 2:
        entry["shape"] = random.choice(([], [0], [-1, 4], [2**62, 4], [1.5], ["a"], 5, None, [1] * 70, [2**31] * 3))
    elif kind == 3:
        entry["dtype"] = random.choice(DTYPES)
    elif kind == 4:
        entry["data_offsets"] = random.choice(([0, 2**60], [8, 4], [-8, 0], ["0", "8"], [0], None, {}, [0, 4]))
    elif kind == 5:
        del header[name]
    else:
        header["__metadata__"] = random.choice(
            (7, [], {"a": 1}, {"lora_adapter_metadata": "{"}, {"state": "[" * 9000})
        )


def not_finite(random, content):
    """NaN, infinity or the largest numbers in the data."""
    value = random.choice((float("nan"), float("inf"), -float("inf"), 3e38))
    place = len(content) - 4 * random.randint(1, max(1, min(50, len(content) // 8)))
    return content[:place] + struct.pack("<f", value) + content[place + 4 :]


# ---------------------------------------------------------------------------------------------------------------- JSON


def wrong_value(random, content):
    """A JSON value somewhere replaced, removed or renamed."""
    tree = json.loads(content)
    for _ in range(random.randint(1, 3)):
        _change(random, tree)
    return json.dumps(tree).encode()


def _change(random, node):
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = random.choice(keys)
        if isinstance(node[key], (dict, list)) and node[key] and random.random() < 0.6:
            node = node[key]
            continue
        if random.random() < 0.15:
            del node[key]
        else:
            node[key] = copy.deepcopy(random.choice(VALUES))
        return


def odd_number(random, content):
    """Numbers that JSON allows and Python minds."""
    text = content.decode()
    places = [i for i, sign in enumerate(text) if sign.isdigit()]
    if not places:
        return content
    place = random.choice(places)
    number = random.choice(("NaN", "-Infinity", "1e999", "9" * 5000, "-0", "1" + "0" * 400))
    return (text[:place] + number + text[place + 1 :]).encode()


BLIND = (flipped, flipped_early, cut, padded, moved, huge_length, replaced)
KNOWING = {".safetensors": (lying_header, lying_header, not_finite), ".json": (wrong_value, wrong_value, odd_number)}
KNOWING[".jsonl"] = (odd_number,)


def mutant(random, name: str, content: bytes) -> bytes:
    """`content` of a file called `name` with one change, chosen by `random` (a `random.Random`)."""
    knowing = KNOWING.get(os.path.splitext(name)[1], ())
    change = random.choice(knowing) if knowing and random.random() < 0.6 else random.choice(BLIND)
    return change(random, content)


# --------------------------------------------------------------------------------------------------------------- traps


class _Command:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


class _Open:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return open, (str(self.canary), "w")


class _Text:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return exec, (f"open({str(self.canary)!r}, 'w')",)


def traps(canary) -> dict[str, bytes]:
    """Files that would create `canary` if a reader ran what is in them, or wrote where they say; name -> content."""
    found = {}
    for number, kind in enumerate((_Command, _Open, _Text)):
        for protocol in (0, 2, 4):
            raw = pickle.dumps({"string_to_param": {"*": kind(canary)}}, protocol=protocol)
            found |= {f"trap{number}{protocol}{suffix}": raw for suffix in (".pt", ".bin", ".safetensors", ".json")}
            found[f"zip{number}{protocol}.pt"] = _archive({"archive/data.pkl": raw, "archive/version": b"3\n"})
            found[f"zip{number}{protocol}.ckpt"] = _archive({"archive/data.pkl": raw, f"../../../{canary}": b"x"})
    found["slip.bin"] = _archive({str(canary): b"x", "../" * 12 + str(canary).lstrip("/"): b"x"})
    found["bomb.pt"] = _archive({"archive/data.pkl": b"\0" * 200_000_000}, compress=True)
    return found


def _archive(members, compress=False) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()
