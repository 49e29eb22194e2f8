"""What both benchmark programs need: the machine, the versions, the command `tenon`."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from peers import peak_bytes

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 600

# ---------------------------------------------------------------- running the command


class TenonError(Exception):
    """`tenon` failed on a model; the message is its last line."""


@dataclass
class Finished:
    seconds: float
    stdout: str
    peak_bytes: int


def run(command: list[str], environment: dict) -> Finished:
    """Runs a command to its end and watches how much memory it takes."""
    start = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
        peak, seconds = 0, 0.0
        while process.poll() is None:
            peak = max(peak, peak_bytes(process.pid))
            if seconds > TIMEOUT:
                process.kill()
                process.wait()
                raise TenonError(f"no result after {TIMEOUT} s")
            time.sleep(min(0.02, 0.0005 + seconds / 50))  # rarely, not to disturb the run
            seconds = time.monotonic() - start
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            lines = err.read().decode(errors="replace").strip().splitlines()
            status = process.returncode
            crash = f"crash: signal {-status}" if status < 0 else f"exit status {status}"
            raise TenonError(lines[-1] if lines and status > 0 else crash)
        return Finished(seconds, out.read().decode(errors="replace"), peak)


def bench_latency(command: list[str], environment: dict) -> dict:
    """Runs `tenon bench --steady --json …`: latency and largest resident size."""
    result = run(command, environment)
    try:
        row = json.loads(result.stdout.strip().splitlines()[-1])
        latency = {key: float(row["latency_ms"][key]) for key in ("min", "median", "p95")}
    except (ValueError, KeyError, IndexError, TypeError):
        raise TenonError("tenon bench --json printed no latency") from None
    return {"latency_ms": latency, "peak_bytes": result.peak_bytes}


def merged(measurements: list[dict]) -> dict:
    """Rounds to one figure each: the least minimum, the median of the others, their spread."""

    def values(key: str) -> list[float]:
        return [m["latency_ms"][key] for m in measurements]

    latency = {
        "min": min(values("min")),
        "median": statistics.median(values("median")),
        "p95": statistics.median(values("p95")),
        "spread": max(values("median")) / min(values("median")),
    }
    peak = max(m.get("peak_bytes", 0) for m in measurements)
    return {"latency_ms": latency, "peak_bytes": peak}


# ---------------------------------------------------------------- the machine


def first_line(*command: str) -> str | None:
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = result.stdout.strip().splitlines()
    return lines[0] if result.returncode == 0 and lines else None


def proc_value(file: str, key: str) -> str:
    for line in Path(file).read_text().splitlines():
        if line.startswith(key):
            return line.split(":", 1)[1].strip()
    return "unknown"


def machine() -> dict:
    flags = proc_value("/proc/cpuinfo", "flags").split()
    kilobytes = int(proc_value("/proc/meminfo", "MemTotal").split()[0])
    notable = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve")
    return {
        "cpu": proc_value("/proc/cpuinfo", "model name"),
        "isa": [isa for isa in notable if isa in flags],
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(kilobytes / 2**20),
        "virtual": "hypervisor" in flags,
        "os": platform.freedesktop_os_release().get("PRETTY_NAME", "Linux"),
        "kernel": ".".join(platform.release().split(".")[:2]),
        "load_before": os.getloadavg()[0],
    }


def versions(tenon: Path) -> dict:
    from importlib.metadata import version

    git = first_line("git", "-C", str(ROOT), "describe", "--always", "--dirty")
    packages = ("onnxruntime", "torch", "transformers", "onnx", "numpy")
    return {
        "tenon": (first_line(str(tenon), "--version") or git or "unknown").removeprefix("tenon "),
        "commit": git,
        **{package: version(package) for package in packages},
        "python": platform.python_version(),
        "cc": first_line(os.environ.get("CC", "cc"), "--version"),
    }


def roofs(tenon: Path, cache: Path | None = None, threads: int | None = None) -> dict:
    """What `tenon doctor --measure` says; empty when it cannot.  It writes into the cache."""
    environment = os.environ | ({"TENON_CACHE": str(cache)} if cache else {})
    command = [str(tenon), "doctor", "--measure", "--json"]
    command += ["--threads", str(threads)] if threads else []
    try:
        return json.loads(run(command, environment).stdout)
    except (TenonError, ValueError, OSError) as error:
        print(f"no roofs: {error}", file=sys.stderr)
        return {}
