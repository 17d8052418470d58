"""A small interpreter of pickle opcodes for plain data and PyTorch tensors; it can call nothing.

The opcodes are parsed by `pickletools`. A name that the pickle asks for (GLOBAL) becomes a `Known` from the table
below or is refused; "calling" it (REDUCE) means one of the functions of this file, which build plain values and
descriptions of tensors.
"""

from __future__ import annotations

import dataclasses
import io
import pickletools
import struct
from collections.abc import Callable
from typing import Any

# Element type as safetensors spells it -> (itself, bytes, torch's name).
ELEMENT = {
    name: (name, size, torch_name)
    for name, size, torch_name in (
        ("F64", 8, "float64"),
        ("F32", 4, "float32"),
        ("F16", 2, "float16"),
        ("BF16", 2, "bfloat16"),
        ("F8_E4M3", 1, "float8_e4m3fn"),
        ("F8_E5M2", 1, "float8_e5m2"),
        ("I64", 8, "int64"),
        ("I32", 4, "int32"),
        ("I16", 2, "int16"),
        ("I8", 1, "int8"),
        ("U8", 1, "uint8"),
        ("BOOL", 1, "bool"),
    )
}
_STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "UntypedStorage": "U8",
}
_NUMPY = {"f8": "<d", "f4": "<f", "f2": "<e", "i8": "<q", "i4": "<i", "i2": "<h", "i1": "<b", "u1": "<B", "b1": "<?"}
MOST_COPIED = 1 << 18
_MODULES = {
    "torch.nn.modules": ("linear.Linear", "normalization.LayerNorm", "dropout.Dropout", "container.Sequential"),
    "ldm.modules": ("embedding_manager.TransformerBlock",),
    "ldm.modules.attention": ("CrossAttention", "FeedForward", "GEGLU"),
    "models.positional_encoding": ("NeTIPositionalEncoding",),
}
"""Classes of whole modules in files of official releases; of these, the tensors are read."""
_SCALAR = (str, int, float, bool, bytes, type(None))


class Refused(ValueError):
    """The pickle asks for something that plain data does not need; the message ends with the next step."""


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor that has not been read: its place in a storage, in elements."""

    dtype: str
    storage: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Storage:
    """A storage named by the pickle."""

    dtype: str
    key: str


@dataclasses.dataclass(frozen=True)
class Known:
    """A name of the table: `call` stands for calling it, `value` is what it means by itself."""

    name: str
    call: Callable[..., Any] | None = None
    value: Any = None


class Parameters(dict):
    """A ``torch.nn.ParameterDict``: its state fills it."""


class Module(dict):
    """A pickled torch module of the table: its state fills it with tensors and inner modules; nothing of it runs."""


class _Numpy:
    """A numpy element type, e.g. ``"<f8"``."""

    def __init__(self, code: str):
        self.code = code


# ----------------------------------------------------------------------------------------------------- what names mean


def _dict(pairs=()):
    return {_key(k): v for k, v in (pairs.items() if isinstance(pairs, dict) else pairs)}


def _tensor(storage, offset, shape, stride, *_):
    if not isinstance(storage, Storage) or not all(isinstance(n, int) for n in (offset, *shape, *stride)):
        raise Refused("a tensor without a proper storage, shape or stride; the file is damaged")
    return StoredTensor(storage.dtype, storage.key, offset, tuple(shape), tuple(stride))


def _tensor_of_type(storage, offset, shape, stride, _requires_grad, _hooks, dtype, *_):
    return _tensor(Storage(_plain(dtype), storage.key), offset, shape, stride)


def _parameter(data, *_):
    return data


def _subclass(function, _type, arguments, _state):
    return _call(function, arguments)


def _new(kind, base=None, state=None):
    del base, state
    return _call(kind, ())


def _scalar(kind, data):
    form = _NUMPY.get(kind.code.lstrip("<|=")) if isinstance(kind, _Numpy) else None
    if form is None or not isinstance(data, bytes) or len(data) != struct.calcsize(form):
        raise Refused("a numpy value of a type that is not read; save the file without it")
    return struct.unpack(form, data)[0]


def _encode(text, coding="latin1"):
    if coding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise Refused("bytes in an unusual coding; the file is damaged")
    return text.encode("latin1")


def _device(kind, index=None):
    if not isinstance(kind, str) or not isinstance(index, (int, type(None))):
        raise Refused("a device without a proper name; the file is damaged")
    return kind if index is None else f"{kind}:{index}"


def _tensors_of(state) -> dict:
    """Name -> tensor or inner module, of a module's state."""
    found = {key: value for key, value in state.items() if isinstance(value, StoredTensor)}
    for part in ("_parameters", "_buffers", "_modules"):
        found |= {k: v for k, v in _dict(state.get(part) or {}).items() if isinstance(v, (StoredTensor, Module))}
    return found


def _set(items=()):
    return list(items)


def _known() -> dict[tuple[str, str], Known]:
    table: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): _dict,
        ("builtins", "dict"): _dict,
        ("builtins", "set"): _set,
        ("builtins", "list"): _set,
        ("torch._utils", "_rebuild_tensor"): _tensor,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch._utils", "_rebuild_tensor_v3"): _tensor_of_type,
        ("torch._utils", "_rebuild_parameter"): _parameter,
        ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
        ("torch._tensor", "_rebuild_from_type_v2"): _subclass,
        ("torch.nn.parameter", "Parameter"): _parameter,
        ("torch.nn.modules.container", "ParameterDict"): Parameters,
        ("copyreg", "_reconstructor"): _new,
        ("torch", "Size"): tuple,
        ("torch", "device"): _device,
        ("_codecs", "encode"): _encode,
        ("numpy", "dtype"): lambda code, *_: _Numpy(code),
    }
    table |= {(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")}
    classes = [f"{package}.{name}" for package, names in _MODULES.items() for name in names]
    table |= {(name.rpartition(".")[0], name.rpartition(".")[2]): Module for name in classes}
    known = {name: Known(".".join(name), call) for name, call in table.items()}
    known |= {("builtins", "object"): Known("object"), ("torch", "Tensor"): Known("torch.Tensor")}
    for module in ("torch", "torch.cuda", "torch.storage"):
        known |= {(module, name): Known(name, value=dtype) for name, dtype in _STORAGES.items()}
    known |= {("torch", each[2]): Known(each[2], value=name) for name, each in ELEMENT.items()}
    old = {"builtins": "__builtin__", "copyreg": "copy_reg"}
    known |= {(old[module], name): what for (module, name), what in known.items() if module in old}
    return known


KNOWN = _known()


def _plain(value):
    return value.value if isinstance(value, Known) and value.value is not None else value


def _call(function, arguments):
    if not isinstance(function, Known) or function.call is None or not isinstance(arguments, tuple):
        raise Refused("it calls what is no function; the file is damaged")
    return function.call(*arguments)


def _key(value):
    if not isinstance(value, _SCALAR):
        raise Refused(f"a key of type {type(value).__name__}; only names and numbers are read as keys")
    return value


# -------------------------------------------------------------------------------------------------------- the machine


def run(data) -> Any:
    """The value of the pickle at the present place of `data` (bytes, or an object with ``read`` and ``readline``).

    Raises:
        Refused: the pickle asks for a name that is not in the table, or for an opcode that plain data does not need.
        ValueError, IndexError, KeyError, TypeError, AttributeError: it is damaged.
    """
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(io.BytesIO(data) if isinstance(data, bytes) else data):
        step = _STEPS.get(opcode.name)
        if step is None:
            raise Refused(f"its pickle uses {opcode.name}, which plain data does not need; save it as safetensors")
        step(machine, argument)
    if len(machine.stack) != 1 or machine.marks:
        raise ValueError("values are left over")
    return _plain(machine.stack[0])


class _Machine:
    """The stack, the stacks below each mark, and the memo."""

    def __init__(self):
        self.stack: list = []
        self.marks: list[list] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0

    def since_mark(self) -> list:
        """Takes what was pushed since the last mark."""
        items, self.stack = self.stack, self.marks.pop()
        return items

    def put(self, number):
        self.memo[len(self.memo) if number is None else number] = self.stack[-1]

    def mark(self, _):
        self.marks.append(self.stack)
        self.stack = []

    def pop_mark(self, _):
        self.since_mark()

    def pop(self, _):
        self.stack.pop()

    def get(self, number):
        self.stack.append(self.memo[number])

    def push(self, value):
        self.stack.append(value)

    def take(self, count: int) -> list:
        """Pops `count` values, the deepest first."""
        if count > len(self.stack):
            raise IndexError("the stack is empty")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def append(self, items):
        if type(self.stack[-1]) is not list:
            raise Refused("it appends to what is no list; the file is damaged")
        self.stack[-1].extend(items)

    def set_items(self, items):
        if not isinstance(self.stack[-1], dict) or len(items) % 2:
            raise Refused("it sets entries of what is no dictionary; the file is damaged")
        self.stack[-1].update(_pairs(items))

    def global_(self, name):
        module, _, attribute = name.partition(" ")
        self.known(module, attribute)

    def stack_global(self, _):
        self.known(*self.take(2))

    def known(self, module, attribute):
        if not isinstance(module, str) or not isinstance(attribute, str) or (module, attribute) not in KNOWN:
            raise Refused(
                f"its pickle asks for {f'{module}.{attribute}'[:200]!r}, which is no plain data; nothing was "
                "executed; save its tensors as safetensors"
            )
        self.stack.append(KNOWN[module, attribute])

    def reduce(self, _):
        function, arguments = self.take(2)
        self.stack.append(self.counted(_call(function, arguments)))

    def counted(self, value):
        """`value`, which was copied: a few bytes of a pickle may ask for the same long copy again and again."""
        self.copied += len(value) if isinstance(value, (str, bytes, list, tuple, dict)) else 1
        if self.copied > MOST_COPIED:
            raise Refused("it asks for far more than the file holds; refused")
        return value

    def build(self, _):
        instance, state = self.take(2)
        if isinstance(instance, Parameters):
            instance.update(self.counted(_dict(state["_parameters"])))
        elif isinstance(instance, Module):
            instance.update(self.counted(_tensors_of(state)))
        elif isinstance(instance, _Numpy) and ">" in state[1:2]:
            raise Refused("a numpy value in big-endian byte order; save the file without it")
        elif not isinstance(instance, (dict, _Numpy, StoredTensor)):
            raise Refused("it gives a state to what has none; the file is damaged")
        self.stack.append(instance)

    def persistent(self, _):
        (name,) = self.take(1)
        if isinstance(name, tuple) and name[:1] == ("module",) and isinstance(name[1], Known):
            return self.stack.append(name[1])
        if not isinstance(name, tuple) or len(name) < 5 or name[0] != "storage" or any(name[5:]):
            raise Refused("it names an object outside the file; save its tensors as safetensors")
        kind, key = _plain(name[1]), name[2]
        if kind not in ELEMENT or not isinstance(key, str):
            raise Refused("a storage of a type that is not read; save the tensors as safetensors")
        self.stack.append(Storage(kind, key))


_PUSHED = """
    INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES
    SHORT_BINBYTES BINBYTES8 UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8
""".split()
_STEPS: dict[str, Callable[[_Machine, Any], Any]] = {
    **dict.fromkeys(_PUSHED, _Machine.push),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda machine, _: None),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "DUP": lambda machine, _: machine.push(machine.stack[-1]),
    **dict.fromkeys(("EMPTY_LIST", "EMPTY_SET"), lambda machine, _: machine.push([])),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "LIST": lambda machine, _: machine.push(machine.since_mark()),
    "DICT": lambda machine, _: machine.push(_pairs(machine.since_mark())),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.take(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.take(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.take(3))),
    "APPEND": lambda machine, _: machine.append(machine.take(1)),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda machine, _: machine.append(machine.since_mark())),
    "SETITEM": lambda machine, _: machine.set_items(machine.take(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "GLOBAL": _Machine.global_,
    "STACK_GLOBAL": _Machine.stack_global,
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _Machine.reduce),
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}


def _pairs(items: list) -> dict:
    return _dict(zip(items[::2], items[1::2]))
