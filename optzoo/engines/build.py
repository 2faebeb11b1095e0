"""C source -> a loaded library: built once with the system's compiler, then found in a cache.

A library is named by the hash of everything that went into it: the source, the flags, what the
compiler and the processor say they are. It is written under another name and renamed, so that many
processes may build the same one at once, and a machine that shares its home with others finds its
own.

The compiler is `$CC`, else `cc`, `gcc` or `clang`. The cache is `$OPTZOO_CACHE`, else
`$XDG_CACHE_HOME/optzoo` or `~/.cache/optzoo`; where that cannot be written, a temporary folder.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

FLAGS = ("-std=c11", "-O3", "-fPIC", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")
"""Products that are added round once; NaN and infinities stay what they are."""

OPENMP = "-fopenmp"
FURTHER = (("-march=native", OPENMP), ("-mcpu=native", OPENMP), (OPENMP,), ())
"""Flags that not every compiler takes, best first: without OpenMP a step takes one thread."""
SERIAL_FURTHER = (("-march=native",), ("-mcpu=native",), ())
"""The same for what takes one thread anyway."""

TIMEOUT = 120.0
"""Seconds after which a compiler that does not come back is given up."""


class CompilationError(Exception):
    """A step could not be compiled here; the message is one line for the user."""


def load(source: str, *, threads: bool = True) -> ctypes.CDLL:
    """Return the library of a C source, built if need be. Raises CompilationError.

    Without `threads` there is no OpenMP in it, and torch, whose runtime that would be, is not
    imported.
    """
    path = _cache() / f"{_key(source, threads)}.so"
    if path.exists():
        try:
            return ctypes.CDLL(str(path))
        except OSError:  # damaged, or of another machine: build it again
            pass
    _build(source, path, threads)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise CompilationError(f"what was compiled cannot be loaded: {error}") from error


def load_module(source: str) -> ModuleType:
    """Return the Python module of a generated source, from a file in the cache.

    Triton compiles functions from the file they stand in, and keeps what it made by itself.
    """
    name = f"step_{hashlib.sha256(source.encode()).hexdigest()[:32]}"
    path = _cache() / f"{name}.py"
    if not path.exists() or path.read_text() != source:
        handle, temporary = tempfile.mkstemp(prefix=".building-", dir=path.parent)
        with os.fdopen(handle, "w") as file:
            file.write(source)
        os.replace(temporary, path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def compiler() -> tuple[str, ...]:
    """Return the command of the C compiler. Raises CompilationError where there is none."""
    wish = shlex.split(os.environ.get("CC", ""))
    if wish:
        if shutil.which(wish[0]) is None:
            raise CompilationError(f"there is no `{wish[0]}`, which $CC names")
        return tuple(wish)
    for name in ("cc", "gcc", "clang"):
        if (found := shutil.which(name)) is not None:
            return (found,)
    raise CompilationError("there is no C compiler: no $CC, cc, gcc or clang")


@functools.cache
def further_flags(threads: bool = True) -> tuple[str, ...]:
    """Return those of `FURTHER` that the compiler takes here. Raises CompilationError."""
    with tempfile.TemporaryDirectory() as folder:
        error = CompilationError("the C compiler cannot build a shared library")
        for flags in FURTHER if threads else SERIAL_FURTHER:
            try:
                _compile("int answer(void) { return 42; }\n", Path(folder) / "probe.so", flags)
            except CompilationError as failure:
                error = failure
            else:
                return flags
    raise error


def _build(source: str, path: Path, threads: bool) -> None:
    handle, name = tempfile.mkstemp(suffix=".so", prefix=".building-", dir=path.parent)
    os.close(handle)
    try:
        _compile(source, Path(name), further_flags(threads))
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _compile(source: str, path: Path, flags: Sequence[str]) -> None:
    command = [*compiler(), *FLAGS, *flags, "-shared", "-x", "c", "-", "-o", str(path), "-lm"]
    if OPENMP in flags and (runtime := _openmp_of_torch()) is not None:
        # one OpenMP, and so one set of threads, in the process
        command += ["-x", "none", "-Wl,--as-needed", str(runtime)]
    try:
        done = subprocess.run(
            command, input=source, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompilationError(f"`{command[0]}` did not run: {error}") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        said = (lines or done.stderr.splitlines() or ["no message"])[0]
        raise CompilationError(f"`{command[0]}` failed: {said[:200]}")


@functools.cache
def _openmp_of_torch() -> Path | None:
    """Return the OpenMP runtime that torch brings, if it brings GNU's."""
    import torch

    found = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    return found[0] if found else None


def _key(source: str, threads: bool = True) -> str:
    parts = [source, *FLAGS, *further_flags(threads), *compiler(), _version(), _processor()]
    if threads:
        parts.append(str(_openmp_of_torch()))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


@functools.cache
def _version() -> str:
    done = subprocess.run(
        [*compiler(), "--version"], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    return done.stdout


@functools.cache
def _processor() -> str:
    """Return what `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    told = sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    return "\n".join([platform.machine(), platform.processor(), *told])


@functools.cache
def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    wish = Path(os.environ.get("OPTZOO_CACHE") or f"{base}/optzoo").expanduser()
    try:
        wish.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=wish):
            return wish
    except OSError:
        return Path(tempfile.mkdtemp(prefix="optzoo-"))
