"""The image under test: a Debian made without any registry of images, and the Dockerfile built upon it.

What this machine needs to get through to Debian, PyPI and npm (mirrors, proxies, certificates) is asked of their own clients
and passed on as build secrets; nothing of it stays in the image.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.container.engine import KEPT_CACHE, CannotStart, Engine

ROOT = Path(__file__).parents[2]
IMAGE = "hive-suite:test"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
SOURCES = ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
PIP_KEYS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
BUILD_S = 600


def make_image(engine: Engine, notes: Path) -> None:
    """Build IMAGE; `notes` takes files that are gone after the build. Raises: CannotStart without a base."""
    _clear(engine)
    base = _base(engine, notes)
    secrets = {
        "apt": _written(notes / "apt.conf", _apt_lines()),
        "pip": _written(notes / "pip.conf", ["[global]", *_pip_lines()]),
        "npm": _written(notes / "npmrc", _npm_lines()),
        "ca": Path(os.environ.get("SSL_CERT_FILE") or CERTIFICATES),
    }
    words = [word for name, file in secrets.items() for word in ("--secret", f"id={name},src={file}")]
    words += [word for name in PROXIES if name in os.environ for word in ("--build-arg", name)]
    engine.docker(
        "build", "--network", "host", "--build-arg", f"BASE={base}", "--tag", IMAGE, *words, str(ROOT), timeout_s=BUILD_S
    )  # fmt: skip
    for name in ("apt", "pip", "npm"):
        secrets[name].unlink()
    engine.docker("image", "prune", "--force", timeout_s=BUILD_S)
    engine.docker("builder", "prune", "--force", "--keep-storage", KEPT_CACHE, timeout_s=BUILD_S)


def _clear(engine: Engine) -> None:
    """Remove what tests that were killed have left: it would even start again."""
    if left := engine.docker("ps", "--all", "--quiet").stdout.split():
        engine.docker("rm", "--force", "--volumes", *left)
    for kind in ("network", "volume"):
        engine.docker(kind, "prune", "--force")


def _base(engine: Engine, notes: Path) -> str:
    """The name of a minimal Debian of this machine's own release; made at the first time, 20 s."""
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "bookworm")
    name = f"localhost/debian:{release}-slim"
    if engine.docker("image", "inspect", name, check=False).returncode != 0:
        tar = notes / "base.tar"
        sources = next((file for file in SOURCES if os.path.exists(file)), "")
        made = subprocess.run(
            ["mmdebstrap", "--variant=minbase", release, str(tar), *([sources] if sources else [])],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BUILD_S,
        )  # fmt: skip
        if made.returncode != 0:
            raise CannotStart(f"no Debian for the image: {made.stderr.strip().splitlines()[-1]}")
        engine.docker("import", str(tar), name)
        tar.unlink()
    return name


def _written(file: Path, lines: Iterable[str]) -> Path:
    file.touch(0o600)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


def _apt_lines() -> list[str]:
    return _said(["apt-config", "dump", "Acquire"])


def _pip_lines() -> list[str]:
    """What pip was told of indexes; a directory of this machine means nothing in the image."""
    told = {}
    for line in _said([sys.executable, "-m", "pip", "config", "list"]):
        name, _, value = line.partition("=")
        key = name.rpartition(".")[2]
        words = [word for word in value.strip("'\"").split() if "file:" not in word]
        if key in PIP_KEYS and words:
            told[key] = " ".join(words)
    return [f"{key} = {value}" for key, value in told.items()]


def _npm_lines() -> list[str]:
    """The user's and the machine's npmrc as they are, with what is secret in them."""
    lines = []
    if shutil.which("npm"):
        for which in ("globalconfig", "userconfig"):
            for file in _said(["npm", "config", "get", which]):
                if os.path.isfile(file):
                    lines += Path(file).read_text(encoding="utf-8").splitlines()
        lines += [f"registry={url}" for url in _said(["npm", "config", "get", "registry"])]
    return lines


def _said(words: list[str]) -> list[str]:
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout.splitlines()
