"""``deepreduce doctor``: what this machine offers, and what is missing for which command."""

from __future__ import annotations

import importlib
import json
import platform
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from ...errors import DeepReduceError, one_line
from ...paths import client_store_folder, data_folder
from ...processor import processor_flags, processor_name
from ...units import show_bytes
from ...version import __version__
from ..options import JsonOption

FEATURES = ("aes", "avx2", "bmi2", "vaes", "avx512f", "avx512ifma", "avx512_vnni", "amx_int8")
# package -> (distribution, extra, what needs it)
OPTIONAL = {
    "torch": ("torch", "search", "inspect, search, export; bench of a network by name"),
    "sklearn": ("scikit-learn", "search", "--data digits"),
    "PIL": ("pillow", "client", "predict with pictures, --data folder:PATH"),
    "pooch": ("pooch", "search", "downloading cifar10, cifar100, tinyimagenet"),
    "matplotlib": ("matplotlib", "search", "report (SVG), inspect --figure"),
    "plotly": ("plotly", "search", "report (HTML)"),
    "jinja2": ("jinja2", "search", "report (HTML)"),
    "torch_pruning": ("torch-pruning", "search", "alpha on your own networks"),
    "onnx": ("onnx", "onnx", "export from and to ONNX"),
    "onnxruntime": ("onnxruntime", "onnx", "checking an export to ONNX"),
    "keyring": ("keyring", "keyring", "keys of stores in the user's keyring"),
    "prometheus_client": ("prometheus_client", "server", "serve --metrics"),
}
BASE = ("numpy", "cryptography", "lazy_loader", "pynacl", "safetensors", "typer", "rich")
CORE_BROKEN = 70


def doctor_command(as_json: JsonOption = False) -> None:
    """Show CPU features and the kernels chosen, packages, folders and versions. Exit code 70: the compiled module does
    not load or is damaged."""
    found = examine()
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    else:
        _show(found)
    if "error" in found["core"]:
        raise typer.Exit(CORE_BROKEN)


def examine() -> dict[str, Any]:
    """Return everything, as JSON can hold it."""
    return {
        "deepreduce": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "core": _core(),
        "base": {name: _version(name) for name in BASE},
        "optional": {
            name: {"version": _version(dist) if _there(name) else None, "extra": extra, "for": what}
            for name, (dist, extra, what) in OPTIONAL.items()
        },
        "torch": _torch(),
        "data": _data(data_folder()),
        "store": _store(client_store_folder()),
    }


def _cpu() -> dict[str, Any]:
    flags = processor_flags()
    return {"model": processor_name(), "features": [one for one in FEATURES if one in flags]}


def _core() -> dict[str, Any]:
    """Return the compiled module, and whether it computes: one known product."""
    try:
        core = importlib.import_module("deepreduce._core")
        if core.he_parameters(32)["public_key_bytes"] < 1 or len(core.random_ring(3, 32)) != 3:
            raise ValueError("it computes nonsense")
        return {"file": str(core.__file__), "path": core.cpu_path(), "paths": core.cpu_paths()}
    except (ImportError, AttributeError, ValueError, RuntimeError) as error:
        return {"error": one_line(error), "hint": "install deepreduce again: the compiled module does not fit"}


def _torch() -> dict[str, Any] | None:
    if not _there("torch"):
        return None
    try:
        torch = importlib.import_module("torch")
        devices = [f"cpu ({torch.get_num_threads()} threads)"]
        devices += [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return {"version": str(torch.__version__), "devices": devices}
    except (ImportError, OSError, RuntimeError) as error:
        return {"error": one_line(error)}


def _data(folder: Path) -> dict[str, Any]:
    try:
        sets = sorted(path.name for path in folder.iterdir() if path.is_dir())
    except OSError:
        sets = []
    return {"folder": str(folder), "found": sets}


def _store(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = {"folder": str(folder)}
    try:
        from ...inference.store import store_summary

        return result | store_summary(folder)
    except (DeepReduceError, ImportError) as error:
        return result | {"error": one_line(error)}


def _there(package: str) -> bool:
    from importlib.util import find_spec

    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _version(distribution: str) -> str | None:
    from importlib import metadata  # slow to load

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _show(found: dict[str, Any]) -> None:
    console = Console(soft_wrap=True, highlight=False)

    def line(name: str, text: str) -> None:
        console.print(f"[bold]{name:<12}[/] {escape(text)}")

    line("deepreduce", f"{found['deepreduce']}, Python {found['python']}, {found['platform']}")
    line("CPU", f"{found['cpu']['model']}; {' '.join(found['cpu']['features']) or 'no features known'}")
    core = found["core"]
    if "error" in core:
        console.print(f"[bold red]core         broken:[/] {escape(core['error'])} ({escape(core['hint'])})")
    else:
        line("core", f"kernels {core['path']} (of {', '.join(core['paths'])}), {core['file']}")
    line("packages", ", ".join(f"{name} {version or 'MISSING'}" for name, version in found["base"].items()))
    torch = found["torch"]
    if torch is not None:
        line("torch", torch.get("error") or f"{torch['version']}, {', '.join(torch['devices'])}")
    line("data", f"{found['data']['folder']}: {', '.join(found['data']['found']) or 'nothing'}")
    store = found["store"]
    kept = store.get("error") or f"{store['ready']} prepared, {show_bytes(store['bytes'])}"
    line("store", f"{store['folder']}: {kept}")
    missing = {name: entry for name, entry in found["optional"].items() if entry["version"] is None}
    there = [f"{name} {entry['version']}" for name, entry in found["optional"].items() if name not in missing]
    line("optional", ", ".join(there) or "none")
    for name, entry in missing.items():
        console.print(
            f"[yellow]missing[/]      {name}: for {escape(entry['for'])} (pip install 'deepreduce\\[{entry['extra']}]')"
        )
