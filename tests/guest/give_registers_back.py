"""A tracer that gives a process's XSAVE area back cut short, as Linux for user mode does."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

TRACE_ME, KILL, GET_REGISTERS, SET_REGISTERS, XSTATE = 0, 8, 0x4204, 0x4205, 0x202
CUT_BYTES = 128


class Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def call(request: int, process: int, address: int = 0, data: object = None) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    library.ptrace.restype = ctypes.c_long
    return library.ptrace(
        ctypes.c_int(request), ctypes.c_int(process), ctypes.c_void_p(address), data
    )


def get_registers(process: int) -> bytes:
    buffer = ctypes.create_string_buffer(65536)
    vector = Vector(ctypes.cast(buffer, ctypes.c_void_p), len(buffer))
    assert call(GET_REGISTERS, process, XSTATE, ctypes.byref(vector)) == 0
    return buffer.raw[: vector.length]


def set_registers(process: int, area: bytes) -> bool:
    buffer = ctypes.create_string_buffer(area, len(area))
    vector = Vector(ctypes.cast(buffer, ctypes.c_void_p), len(area))
    return call(SET_REGISTERS, process, XSTATE, ctypes.byref(vector)) == 0


def main() -> None:
    process = os.fork()
    if process == 0:
        call(TRACE_ME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.waitpid(process, 0)
    try:
        before = get_registers(process)
        accepted = set_registers(process, before[:-CUT_BYTES])
        kept = get_registers(process)[:-CUT_BYTES] == before[:-CUT_BYTES]
    finally:
        call(KILL, process)
        os.waitpid(process, 0)
    sys.stdout.write(f"{'accepted' if accepted else 'refused'} {kept}\n")


main()
