"""Lists the libraries that this process has loaded on Windows."""

from __future__ import annotations

import ctypes

from qwen3cpu.system.windows.calls import KERNEL, library, own_process

_LONGEST_PATH = 32_767


def loaded_files() -> list[str]:
    """Return the paths of the program and all libraries; empty: Windows does not tell."""
    kernel, needed = library(KERNEL), ctypes.c_uint32(0)
    if not kernel.K32EnumProcessModules(own_process(), None, 0, ctypes.byref(needed)):
        return []
    modules = (ctypes.c_void_p * (needed.value // ctypes.sizeof(ctypes.c_void_p)))()
    if not kernel.K32EnumProcessModules(own_process(), modules, ctypes.sizeof(modules), ctypes.byref(needed)):
        return []
    path = ctypes.create_unicode_buffer(_LONGEST_PATH)
    handles = [ctypes.c_void_p(module) for module in modules]
    return sorted({path.value for each in handles if kernel.GetModuleFileNameW(each, path, _LONGEST_PATH)})
