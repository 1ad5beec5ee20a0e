"""Thrift's compact protocol, as far as a Parquet footer needs it: structs whose fields stay the bytes they were.

Only what is asked for is decoded, so a field that this code has never heard of comes out as it went in.
Source: the Thrift specification, `thrift-compact-protocol.md`.
"""

from __future__ import annotations

_TRUE, _FALSE, _BYTE, _I16, I32, I64, _DOUBLE, BINARY, LIST, _SET, _MAP, STRUCT, _UUID = range(1, 14)
_INTEGERS = {_I16, I32, I64}
_SHORT_LIST = 15  # a list of so many items, or more, has its length apart


class Struct:
    """A struct: for each field its type and its bytes, in the order of the file."""

    def __init__(self, data: bytes = b"") -> None:
        self._fields: dict[int, tuple[int, bytes]] = {}
        if data:
            _Reader(data).struct(self._fields)

    def __contains__(self, number: int) -> bool:
        return number in self._fields

    def raw(self, number: int) -> bytes:
        """A field's bytes."""
        return self._fields[number][1]

    def integer(self, number: int) -> int:
        """A field of an integer type."""
        value = _Reader(self.raw(number)).varint()
        return (value >> 1) ^ -(value & 1)

    def text(self, number: int) -> bytes:
        """A field of bytes."""
        reader = _Reader(self.raw(number))
        return reader.take(reader.varint())

    def items(self, number: int) -> list[bytes]:
        """The items of a list of structs, bytes or integers; none where there is no list."""
        return _Reader(self.raw(number)).items() if number in self else []

    def put(self, number: int, raw: bytes, kind: int) -> None:
        """Sets a field to these bytes."""
        self._fields[number] = (kind, raw)

    def put_integer(self, number: int, value: int, kind: int = I64) -> None:
        """Sets a field of an integer type."""
        self.put(number, _varint((value << 1) ^ (value >> 63)), self._fields.get(number, (kind,))[0])

    def put_items(self, number: int, items: list[bytes], kind: int = STRUCT) -> None:
        """Sets a list."""
        head = (
            bytes([len(items) << 4 | kind]) if len(items) < _SHORT_LIST else bytes([0xF0 | kind]) + _varint(len(items))
        )
        self.put(number, head + b"".join(items), LIST)

    def drop(self, *numbers: int) -> None:
        """Removes fields."""
        for number in numbers:
            self._fields.pop(number, None)

    def encode(self) -> bytes:
        """The struct's bytes."""
        out = bytearray()
        last = 0
        for number, (kind, raw) in sorted(self._fields.items()):
            step = number - last
            if 0 < step < _SHORT_LIST + 1:
                out.append(step << 4 | kind)
            else:
                out.append(kind)
                out += _varint((number << 1) ^ (number >> 63))
            out += raw
            last = number
        out.append(0)
        return bytes(out)


def binary(data: bytes) -> bytes:
    """Bytes, as a field or an item has them."""
    return _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class _Reader:
    """Walks over encoded values."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        self._at += count
        return self._data[self._at - count : self._at]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def struct(self, fields: dict[int, tuple[int, bytes]] | None = None) -> None:
        """Walks over a struct, and notes its fields."""
        number = 0
        while head := self.take(1)[0]:
            kind, step = head & 0x0F, head >> 4
            if step:
                number += step
            else:
                coded = self.varint()
                number = (coded >> 1) ^ -(coded & 1)
            start = self._at
            self._skip(kind)
            if fields is not None:
                fields[number] = (kind, self._data[start : self._at])

    def items(self) -> list[bytes]:
        """The items of a list."""
        found = []
        kind, count = self._list_head()
        for _ in range(count):
            start = self._at
            self._skip(kind, in_list=True)
            found.append(self._data[start : self._at])
        return found

    def _list_head(self) -> tuple[int, int]:
        head = self.take(1)[0]
        count = head >> 4
        return head & 0x0F, self.varint() if count == _SHORT_LIST else count

    def _skip(self, kind: int, *, in_list: bool = False) -> None:
        if kind in {_TRUE, _FALSE}:
            self._at += in_list
        elif kind in _INTEGERS:
            self.varint()
        elif kind == BINARY:
            count = self.varint()
            self._at += count
        elif kind in {LIST, _SET}:
            item, count = self._list_head()
            for _ in range(count):
                self._skip(item, in_list=True)
        elif kind == STRUCT:
            self.struct()
        elif kind == _MAP:
            self._skip_map()
        else:
            self._at += {_BYTE: 1, _DOUBLE: 8, _UUID: 16}[kind]

    def _skip_map(self) -> None:
        count = self.varint()
        if count:
            kinds = self.take(1)[0]
            for _ in range(count):
                self._skip(kinds >> 4, in_list=True)
                self._skip(kinds & 0x0F, in_list=True)
