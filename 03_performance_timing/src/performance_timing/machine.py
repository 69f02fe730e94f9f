"""What a result depends on: written beside every number that is published."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from pathlib import Path

from . import _core


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _cpu() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _caches() -> dict[str, str]:
    caches = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind = {"Data": "d", "Instruction": "i"}.get(_read(index / "type"), "")
        caches[f"L{_read(index / 'level')}{kind}"] = _read(index / "size")
    return caches


def _memory() -> float | None:
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return round(int(line.split()[1]) * 1024 / 1e9, 1)
    return None


def describe_machine() -> dict:
    """CPU, caches, cores, memory, load, compiler, flags, Python and its GIL, as a dict that json can write.

    Returns
    -------
    dict
        Keys: cpu, architecture, caches, cores, usable_cores, memory_gb, transparent_huge_pages, load (1-minute average
        or None), system, compiler, flags, nontemporal_stores, python, free_threaded_build, gil_enabled.
    """
    build = _core._build_info()
    huge = _read("/sys/kernel/mm/transparent_hugepage/enabled")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cpu": _cpu(),
        "architecture": platform.machine(),
        "caches": _caches(),
        "cores": os.cpu_count(),
        "usable_cores": build["usable_cores"],
        "memory_gb": _memory(),
        "transparent_huge_pages": huge[huge.find("[") + 1 : huge.find("]")] if "[" in huge else None,
        "load": None if load is None else round(load, 2),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "compiler": build["compiler"],
        "flags": build["flags"],
        "nontemporal_stores": build["nontemporal_stores"],
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "free_threaded_build": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "gil_enabled": getattr(sys, "_is_gil_enabled", lambda: True)(),
    }
