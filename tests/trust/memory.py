"""What a piece of work takes in memory, as the Linux kernel counts it."""

from pathlib import Path


def resident(key) -> int:
    """Bytes of this process by a key of ``/proc/self/status``."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) << 10
    raise KeyError(key)


def peak_growth(action) -> int:
    """How far the resident memory rose above its start while `action` ran."""
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    action()
    return resident("VmHWM") - before
