"""Reads the pickle inside a file of torch.save without executing it.

A pickle is a program. This reader knows only the few instructions with which torch writes dictionaries of tensors, and
makes a plain record of each tensor. It refuses all other instructions, so a file can neither import nor call anything.
"""

from __future__ import annotations

import pickletools
import struct
from typing import Any, Final, NamedTuple

from qwen3cpu.arguments import as_whole
from qwen3cpu.checkpoint.json_fields import brief
from qwen3cpu.errors import CheckpointError

_STORAGES: Final = {
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "DoubleStorage": "F64",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "ShortStorage": "I16",
    "IntStorage": "I32",
    "LongStorage": "I64",
    "BoolStorage": "BOOL",
    "Float8_e4m3fnStorage": "F8_E4M3",
    "Float8_e5m2Storage": "F8_E5M2",
}
"""Name of a storage class in the module torch -> dtype of safetensors."""
_MARK: Final = object()


class _Global(NamedTuple):
    module: str
    name: str


class _Storage(NamedTuple):
    dtype: str
    key: str
    elements: int


class PickledTensor(NamedTuple):
    """A tensor, which is a view of a storage.

    Attributes:
        dtype: of safetensors.
        key: of the storage.
        elements: number of elements in the storage.
        first: the storage's element at which the tensor begins.
        shape: of the tensor.
        stride: in elements.
    """

    dtype: str
    key: str
    elements: int
    first: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read_tensors(data: bytes, source: str) -> dict[str, PickledTensor]:
    """Read the tensors of a pickled dictionary, by name. Raises CheckpointError for anything else."""
    reader = _Reader(source)
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "STOP":
                break
            reader.take(opcode.name, argument)
        found = reader.result()
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, struct.error) as reason:
        raise CheckpointError(f"{source}: expected a pickle as torch.save writes it: {reason}") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{source}: expected a dictionary of tensors, found {type(found).__name__}")
    for name, value in found.items():
        if not isinstance(value, PickledTensor):
            raise CheckpointError(f"{source}: {name!r}: expected a tensor, found {brief(value)}")
    return found


class _Reader:
    """A stack machine for the allowed instructions."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        """Return the single value that is left on the stack."""
        (found,) = self._stack
        return found

    def take(self, name: str, argument: Any) -> None:
        """Execute one instruction."""
        if name in ("PROTO", "FRAME"):
            return
        if name in ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"):
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self._stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[argument])
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            size = int(name[-1])
            self._stack[-size:] = [tuple(self._stack[-size:])]
        elif name == "TUPLE":
            self._stack.append(tuple(self._marked()))
        elif name in ("APPEND", "APPENDS"):
            items = self._marked() if name == "APPENDS" else [self._stack.pop()]
            self._list().extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._marked() if name == "SETITEMS" else [self._stack.pop() for _ in range(2)][::-1]
            self._set(items)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self._stack.append(self._named(argument))
        elif name == "BINPERSID":
            self._stack.append(self._storage(self._stack.pop()))
        elif name == "REDUCE":
            arguments, function = self._stack.pop(), self._stack.pop()
            self._stack.append(self._call(function, arguments))
        elif name == "BUILD":
            self._stack.pop()  # attributes of the dictionary: versions of modules
            if not isinstance(self._stack[-1], dict):
                raise CheckpointError(f"{self._source}: expected tensors, found an object of another kind")
        else:
            raise CheckpointError(f"{self._source}: expected tensors, found the pickle instruction {name}")

    def _marked(self) -> list[Any]:
        """Remove everything above the last mark from the stack, and return it."""
        mark = max(place for place, each in enumerate(self._stack) if each is _MARK)
        items = self._stack[mark + 1 :]
        del self._stack[mark:]
        return items

    def _list(self) -> list[Any]:
        found = self._stack[-1]
        if not isinstance(found, list):
            raise TypeError("an item is appended to something that is not a list")
        return found

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1]
        keys = items[::2]
        # Only strings, because hashing a key of nested tuples could take practically for ever.
        if not isinstance(target, dict) or len(items) % 2 or not all(isinstance(key, str) for key in keys):
            raise CheckpointError(f"{self._source}: expected a dictionary with names as keys, found another")
        target.update(zip(keys, items[1::2], strict=True))

    def _named(self, argument: str | None) -> _Global:
        module, name = argument.split(" ") if argument is not None else reversed([self._stack.pop(), self._stack.pop()])
        return _Global(str(module), str(name))

    def _storage(self, about: Any) -> _Storage:
        """Make a storage from ("storage", type, key, device, count)."""
        kind, type_, key, _, count = about
        if kind != "storage" or not isinstance(key, str) or as_whole(count) is None:
            raise TypeError("a persistent id does not name a storage")
        if not isinstance(type_, _Global) or type_.module != "torch" or type_.name not in _STORAGES:
            raise CheckpointError(f"{self._source}: expected a storage of numbers, found {brief(type_)}")
        return _Storage(_STORAGES[type_.name], key, count)

    def _call(self, function: Any, arguments: Any) -> Any:
        """Return what one of the few functions in torch's own files would return."""
        if function == ("collections", "OrderedDict") and arguments == ():
            return {}
        if function == ("torch._utils", "_rebuild_parameter") and isinstance(arguments[0], PickledTensor):
            return arguments[0]
        if function == ("torch._utils", "_rebuild_tensor_v2"):
            storage, first, shape, stride = arguments[:4]
            sizes = (first, *shape, *stride)
            if not isinstance(storage, _Storage) or any(as_whole(each) is None or each < 0 for each in sizes):
                raise TypeError("a tensor is made of something that is not a storage")
            return PickledTensor(*storage, first, tuple(shape), tuple(stride))
        called = ".".join(function) if isinstance(function, _Global) else brief(function)
        raise CheckpointError(f"{self._source}: expected tensors only, found a call of {called}; it is not carried out")


_CONSTANTS: Final[dict[str, Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "MARK": lambda: _MARK,
}
