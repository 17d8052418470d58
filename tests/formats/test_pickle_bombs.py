"""Small pickles that ask for a lot: each is refused at once, in one line."""

import zipfile

import pytest

from diffusers_persona.errors import PersonaError
from diffusers_persona.formats.contents import read


def known(module, name):
    return f"c{module}\n{name}\n".encode()


def text(value):
    return b"X" + len(value).to_bytes(4, "little") + value


NONES = b"](" + b"N" * 50_000 + b"eq\0" + b"0"
STRING = text(b"a" * 50_000) + b"q\0" + b"0"
NESTED = b"]q\0(NNNNNNNNNNe" + b"".join(
    b"0]q" + bytes([i]) + b"(" + (b"h" + bytes([i - 1])) * 10 + b"e" for i in range(1, 12)
)
STATE = b"}" + text(b"_parameters") + b"}(" + b"".join(b"M" + i.to_bytes(2, "little") + b"N" for i in range(20_000))
STATE += b"usq\0" + b"0"
BOMBS = {
    "copies of a list": NONES + b"](" + (known("builtins", "list") + b"h\0\x85R") * 2000 + b"e",
    "copies of a tuple": NONES + b"](" + (known("torch", "Size") + b"h\0\x85R") * 2000 + b"e",
    "copies of bytes": STRING + b"](" + (known("_codecs", "encode") + b"h\0\x85R") * 4000 + b"e",
    "copies of a dictionary": STATE
    + b"]("
    + (known("torch.nn.modules.container", "ParameterDict") + b")\x81h\0b") * 1000
    + b"e",
    "a nested list as a device": NESTED + b"0" + known("torch", "device") + b"h\x0b\x85R",
    "one long key above many values": b"}" + text(b"k" * 60_000) + b"](" + b"N" * 60_000 + b"es",
    "a list of itself": b"]q\0(" + b"h\0" * 300_000 + b"e",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_pickle_that_asks_for_a_lot_is_refused(bomb, tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bomb/data.pkl", b"\x80\x02" + BOMBS[bomb] + b".")
    with pytest.raises(PersonaError, match="refused|damaged") as refusal:
        read(path)
    assert "\n" not in str(refusal.value)
