"""PyTorch files are read as plain data: tensors as torch reads them, everything else refused by name, nothing run."""

import collections
import io
import os
import pickle
import pickletools
import time
import zipfile

import numpy as np
import pytest
import torch

from diffusers_persona.errors import PersonaError
from diffusers_persona.formats.contents import read

CONTAINERS = pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])


def save(path, value, new=True):
    torch.save(value, path, _use_new_zipfile_serialization=new)
    return path


def archive(path, pickled: bytes, **storages: bytes):
    """A PyTorch zip with any pickle in it."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        for key, data in storages.items():
            file.writestr(f"archive/data/{key.removeprefix('s')}", data)
    return path


TENSORS = {
    "plain": torch.arange(12.0).reshape(3, 4),
    "transposed": torch.arange(12.0).reshape(3, 4).t(),
    "slice": torch.arange(20.0)[3:7],
    "scalar": torch.tensor(1.5),
    "empty": torch.empty(0, 3),
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "half": torch.ones(3).half(),
    "bfloat16": torch.ones(3).bfloat16(),
    "double": torch.ones(3).double(),
    "long": torch.arange(3),
    "byte": torch.arange(3, dtype=torch.uint8),
    "bool": torch.tensor([True, False]),
    "float8": torch.ones(3).to(torch.float8_e4m3fn),
}


@CONTAINERS
@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_is_what_torch_reads(tmp_path, name, new):
    contents = read(save(tmp_path / "a.pt", {"x": TENSORS[name]}, new))
    expected = TENSORS[name].detach()
    assert (contents.infos["x"].shape, contents.tensors["x"].dtype) == (tuple(expected.shape), expected.dtype)
    assert torch.equal(contents.tensors["x"].float(), expected.float())


@CONTAINERS
def test_plain_values_stay_and_nesting_is_flattened(tmp_path, new):
    value = {
        "a": {"b": [torch.ones(1), {"c": torch.ones(2)}], 3: "three"},
        "n": np.float64(2.5),
        "i": np.int64(7),
        "none": None,
        "raw": b"\x00\xff",
        "ordered": collections.OrderedDict(x=1),
        "kind": torch.float16,
        "size": torch.Size([1, 2]),
        "names": {"only"},
    }
    contents = read(save(tmp_path / "a.pt", value, new))
    assert {key: info.shape for key, info in contents.infos.items()} == {"a.b.0": (1,), "a.b.1.c": (2,)}
    plain = {
        "a.3": "three",
        "n": 2.5,
        "i": 7,
        "none": None,
        "ordered.x": 1,
        "size.0": 1,
        "size.1": 2,
        "names.0": "only",
    }
    assert contents.extra == plain
    assert contents.tree["a"]["b"][1]["c"].name == "a.b.1.c"


@CONTAINERS
def test_a_state_dict_and_a_parameter_dict_are_read(tmp_path, new):
    layer = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    contents = read(save(tmp_path / "a.bin", layer.state_dict(), new))
    assert all(torch.equal(contents.tensors[key], value) for key, value in layer.state_dict().items())
    words = torch.nn.ParameterDict({"*": torch.ones(2, 4)})
    assert list(read(save(tmp_path / "b.pt", {"p": words}, new)).infos) == ["p.*"]


def test_a_bare_tensor_has_a_key(tmp_path):
    assert list(read(save(tmp_path / "a.pt", torch.ones(2))).infos) == ["tensor"]


class Trap:
    def __init__(self, folder):
        self.target = str(folder / "executed")

    def __reduce__(self):
        return os.mkdir, (self.target,)


class Callback:
    """Stands for what training frameworks put into checkpoints."""


@CONTAINERS
@pytest.mark.parametrize("make", [Trap, lambda folder: Callback(), lambda folder: {Callback: 1}, lambda folder: eval])
def test_whatever_is_no_plain_data_is_refused_by_its_name_and_not_run(tmp_path, make, new):
    path = save(tmp_path / "a.ckpt", {"state_dict": {"w": torch.ones(1)}, "callbacks": make(tmp_path)}, new)
    with pytest.raises(PersonaError, match=r"a.ckpt: its pickle asks for '[\w.]*(mkdir|Callback|eval)'.*safetensors"):
        read(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_trap_in_any_protocol_is_refused(tmp_path, protocol):
    (tmp_path / "a.pt").write_bytes(pickle.dumps(Trap(tmp_path), protocol))
    archive(tmp_path / "b.pt", pickle.dumps(Trap(tmp_path), protocol))
    for name in ("a.pt", "b.pt"):
        with pytest.raises(PersonaError, match="mkdir"):
            read(tmp_path / name)
    assert not (tmp_path / "executed").exists()


def test_a_pickle_of_something_else_is_no_file_of_weights(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"x": 1}))
    with pytest.raises(PersonaError, match="not of PyTorch"):
        read(tmp_path / "a.pkl")


def tensor(size, stride, storage_bytes=8, offset=0, numel=2):
    """A pickle of one tensor with any size, stride and offset, as torch writes it."""
    buffer = io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", torch.FloatStorage, "0", "cpu", numel) if isinstance(value, Mark) else None

    class Mark:
        pass

    class Lie:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (Mark(), offset, size, stride, False, collections.OrderedDict())

    Pickler(buffer, 2).dump({"x": Lie()})
    return buffer.getvalue(), bytes(storage_bytes)


@pytest.mark.parametrize(
    "size, stride, options",
    [
        ((3,), (1,), {}),
        ((2,), (1,), {"offset": 1}),
        ((10**9, 10**9), (10**9, 1), {}),
        ((-1,), (1,), {}),
        ((1,), (-5,), {}),
        ((2, 2), (1,), {}),
        ((2,), (1,), {"storage_bytes": 4}),
    ],
)
def test_a_tensor_outside_its_storage_is_refused_by_key(tmp_path, size, stride, options):
    pickled, data = tensor(size, stride, **options)
    with pytest.raises(PersonaError, match="tensor 'x'"):
        read(archive(tmp_path / "a.pt", pickled, s0=data))


def test_a_tensor_expanded_beyond_the_file_is_refused(tmp_path):
    pickled, data = tensor((10**6, 10**6), (0, 0))
    with pytest.raises(PersonaError, match="far more than the file has"):
        read(archive(tmp_path / "a.pt", pickled, s0=data))


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", pickle.dumps({}, 2))
        file.writestr("archive/data/0", bytes(200_000_000))
    start = time.perf_counter()
    with pytest.raises(PersonaError, match="more than it can hold"):
        read(tmp_path / "a.pt")
    assert time.perf_counter() - start < 1


def nested(depth, shared):
    inner = ()
    for _ in range(depth):
        inner = (inner, inner) if shared else (inner,)
    return inner


@pytest.mark.parametrize("value", [{"x": nested(60, True)}, {"x": nested(500, False)}], ids=["shared", "deep"])
def test_values_that_explode_when_walked_are_refused_in_time(tmp_path, value):
    start = time.perf_counter()
    with pytest.raises(PersonaError, match="nested or shared"):
        read(archive(tmp_path / "a.pt", pickle.dumps(value, 2)))
    assert time.perf_counter() - start < 5


def test_a_key_that_takes_forever_to_hash_is_refused(tmp_path):
    pickled = b"\x80\x02}" + b")" + b"\x85" + b"".join(b"2\x86" for _ in range(60)) + b"K\x01s."
    assert pickletools.optimize(pickled)
    with pytest.raises(PersonaError, match="a key of type tuple"):
        read(archive(tmp_path / "a.pt", pickled))


def test_names_of_entries_are_never_paths(tmp_path):
    pickled, data = tensor((2,), (1,))
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/data/0", data)
        file.writestr("../outside", b"x")
        file.writestr("/tmp/absolute", b"x")
    assert torch.equal(read(tmp_path / "a.pt").tensors["x"], torch.zeros(2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt"]


@CONTAINERS
def test_a_damaged_file_is_one_line_wherever_it_is_cut_or_flipped(tmp_path, new):
    whole = save(tmp_path / "a.pt", {"string_to_param": {"*": torch.ones(2, 32)}, "name": "x"}, new).read_bytes()
    random = np.random.default_rng(0)
    for n in range(150):
        data = bytearray(whole[: random.integers(20, len(whole))] if n % 2 else whole)
        for place in random.integers(0, len(data), 3):
            data[place] = random.integers(256)
        (tmp_path / "b.pt").write_bytes(data)
        try:
            assert isinstance(read(tmp_path / "b.pt").tensors, dict)
        except PersonaError as error:
            assert "b.pt" in str(error) and "\n" not in str(error)
