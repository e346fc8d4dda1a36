"""Reads supervisord's files as it would, without starting anything, and finds what it silently gets wrong.

What supervisord itself refuses is told in its own words, but for the list of all variables. What it takes without a word:
a misspelt key or section, the rest of a value behind ` ;` or ` #`, two writers of one log file, a command that is not there.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supervisor.options import ServerOptions  # type: ignore[import-untyped]  # supervisor has no types

SECTION = re.compile(r"\[([^]]+)\]")
KEY = re.compile(r"([^=:\s][^=:]*?)\s*[=:]\s*(.*)")
COMMENT = re.compile(r"\s[;#]")  # what supervisord's parser ends a value at
VARIABLE = re.compile(r"%\(ENV_(\w+)\)s")
DEFINED = re.compile(r"(\w+)\s*=")  # within a value of environment=
SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|KEY", re.IGNORECASE)
FREE = ("rpcinterface", "ctlplugin")  # sections whose keys are those of the plug-in
DIRECTORIES = ("HIVE_WORKSPACE", "HIVE_RUN_DIR", "HIVE_MCP_LOG_DIR", "HIVE_SUPERVISOR_LOG_DIR")

# One section of each kind, from which supervisord's own reading tells what keys there are.
SAMPLE = """
[supervisord]
[supervisorctl]
[unix_http_server]
file=/s
[inet_http_server]
port=1
[program:p]
command=p
[fcgi-program:f]
command=f
socket=tcp://localhost:1
[eventlistener:e]
command=e
events=TICK_5
[group:g]
programs=p
"""


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that is wrong. `where` is FILE:LINE or FILE; a warning lets the suite start."""

    where: str
    what: str
    mend: str
    level: str = "problem"


@dataclass(frozen=True, slots=True)
class Entry:
    """One key as it stands in a file; `value` with its further lines and comments."""

    where: str
    section: str
    key: str
    value: str

    @property
    def kind(self) -> str:
        return self.section.partition(":")[0]


def find_flaws(path: str, env: Mapping[str, str]) -> list[Flaw]:
    """All that is wrong with the file at `path` and those that it includes, where `env` is what supervisord gets."""
    if not os.path.isfile(path):
        return [Flaw(path, "no such file", "name another: HIVE_SUPERVISOR_CONF")]
    entries: list[Entry] = []
    flaws: list[Flaw] = []
    for file in included_files(path):
        try:
            entries += read_entries(file)
        except (OSError, UnicodeDecodeError) as exc:
            flaws.append(Flaw(file, f"cannot be read: {exc}", "give it back, or remove it"))
    flaws += [*_unknown(entries), *_comments(entries), *_unset(entries, env)]
    if not any(flaw.level == "problem" and "variable" in flaw.what for flaw in flaws):
        flaws += _as_supervisord(path, env)
    return flaws


def included_files(path: str) -> list[str]:
    """The file itself, and what its [include] names, in supervisord's order."""
    found = [path]
    try:
        entries = read_entries(path)
    except (OSError, UnicodeDecodeError):
        return found
    here = os.path.dirname(os.path.abspath(path))
    for entry in entries:
        if entry.section == "include" and entry.key == "files":
            for pattern in _without_comment(entry.value).replace("%(here)s", here).split():
                found += sorted(glob.glob(os.path.join(here, pattern)))
    return found


def read_entries(path: str) -> list[Entry]:
    """Every key of one file, in its order. Raises: OSError, UnicodeDecodeError."""
    entries: list[Entry] = []
    section = ""
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file.read().split("\n"), 1):
            if not line.strip() or line.lstrip()[0] in ";#":
                continue
            if header := SECTION.match(line):
                section = header[1]
                entries.append(Entry(f"{path}:{number}", section, "", ""))
            elif line[0].isspace() and entries and entries[-1].key:
                last = entries.pop()
                entries.append(Entry(last.where, last.section, last.key, f"{last.value}\n{line.strip()}"))
            elif pair := KEY.match(line):
                entries.append(Entry(f"{path}:{number}", section, pair[1].strip().lower(), pair[2]))
    return entries


def _without_comment(value: str) -> str:
    return "\n".join(COMMENT.split(line, maxsplit=1)[0] for line in value.split("\n"))


# -- what supervisord takes without a word -----------------------------------------------------------------------------


def _unknown(entries: Iterable[Entry]) -> Iterator[Flaw]:
    known = known_keys()
    for entry in entries:
        if not entry.key:
            if entry.kind not in known and entry.kind not in FREE:
                yield Flaw(entry.where, f"no such section: [{entry.section}]", f"known: {', '.join(sorted(known))}")
        elif entry.kind in known and entry.key not in known[entry.kind]:
            yield Flaw(
                entry.where, f"[{entry.section}] has no key {entry.key!r}", _nearest(entry.key, known[entry.kind])
            )


def _nearest(key: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    meant = get_close_matches(key, known, 1)
    return f"did you mean {meant[0]}?" if meant else "remove it: supervisord ignores it"


@cache
def known_keys() -> dict[str, frozenset[str]]:
    """The keys of each kind of section: those that supervisord asks for when it reads one of each."""
    from supervisor import options  # type: ignore[import-untyped]  # supervisor has no types

    asked: dict[str, set[str]] = {"include": {"files"}}

    class Asked(options.UnhosedConfigParser):  # type: ignore[misc]  # supervisor has no types
        def get(self, section: str, option: str, *args: Any, **words: Any) -> Any:
            asked.setdefault(section.partition(":")[0], set()).add(option)
            return super().get(section, option, *args, **words)

    original = options.UnhosedConfigParser
    options.UnhosedConfigParser = Asked
    try:
        for reader in (options.ServerOptions(), options.ClientOptions()):
            reader.here = "/"
            reader.read_config(StringIO(SAMPLE))
    finally:
        options.UnhosedConfigParser = original
    return {kind: frozenset(keys) for kind, keys in asked.items()}


def _comments(entries: Iterable[Entry]) -> Iterator[Flaw]:
    for entry in entries:
        for line in entry.value.split("\n"):
            begins = COMMENT.search(line)
            if not begins:
                continue
            kept = line[: begins.start()]
            quoted = kept.count("'") % 2 or kept.count('"') % 2
            yield Flaw(
                entry.where,
                f"[{entry.section}] {entry.key}: all behind {begins[0].strip()!r} is a comment, between quotes too",
                "write it without a blank before it, or put the words into a script",
                "problem" if quoted else "warning",
            )


def _unset(entries: Iterable[Entry], env: Mapping[str, str]) -> Iterator[Flaw]:
    entries = list(entries)
    defined = {
        (entry.section, name)
        for entry in entries
        if entry.key == "environment"
        for name in DEFINED.findall(entry.value)
    }
    for entry in entries:
        for name in dict.fromkeys(VARIABLE.findall(_without_comment(entry.value))):
            if name not in env and not {("supervisord", name), (entry.section, name)} & defined:
                what = f"[{entry.section}] {entry.key}: the variable {name} is not set"
                yield Flaw(entry.where, what, f"set {name}, or start by hive-suite start, which sets its own")


# -- what supervisord says ---------------------------------------------------------------------------------------------


def _as_supervisord(path: str, env: Mapping[str, str]) -> Iterator[Flaw]:
    """What it refuses; and where it does not, what its programs have in common that they must not."""
    with tempfile.TemporaryDirectory() as stand_in:
        # It refuses log files in directories that are not there; the first start makes these.
        missing = {name: f"{stand_in}/{name}" for name in DIRECTORIES if not os.path.isdir(env.get(name, "/"))}
        for directory in missing.values():
            os.mkdir(directory)
        options = _options(path, {**env, **missing})
        try:
            options.process_config_file(do_usage=False)
        except ValueError as exc:
            yield Flaw(path, _without_secrets(_shortened(str(exc)), env), "see its manual, section Configuration File")
            return
    configs = [each for group in options.configroot.supervisord.process_group_configs for each in group.process_configs]
    yield from _shared_logs(path, options.configroot.supervisord.logfile, configs)
    yield from _absent_commands(path, configs, env)


def _options(path: str, env: Mapping[str, str]) -> ServerOptions:
    from supervisor.options import ServerOptions

    options = ServerOptions()
    options.configfile = path
    options.environ_expansions = {f"ENV_{name}": value for name, value in env.items()}
    return options


def _shortened(text: str) -> str:
    """supervisord lists all variables where one is not known."""
    return " ".join(text.partition(" Available names:")[0].split())


def _without_secrets(text: str, env: Mapping[str, str]) -> str:
    """It quotes values as they are once all variables are in."""
    for name, value in env.items():
        if len(value) >= 4 and SECRET.search(name):
            text = text.replace(value, "…")
    return text


def _shared_logs(path: str, own: str, configs: Iterable[Any]) -> Iterator[Flaw]:
    writers = {os.path.abspath(own): "supervisord"}
    for config in configs:
        for stream in ("stdout", "stderr"):
            log = getattr(config, f"{stream}_logfile")
            if not isinstance(log, str) or log.startswith("/dev/"):
                continue
            writer = f"{stream} of {config.name}"
            first = writers.setdefault(os.path.abspath(log), writer)
            if first != writer:
                what = f"{first} and {writer} have one log file, {log}: each would rotate it under the other"
                yield Flaw(path, what, "give each a file of its own")


def _absent_commands(path: str, configs: Iterable[Any], env: Mapping[str, str]) -> Iterator[Flaw]:
    for config in configs:
        try:
            program = shlex.split(config.command)[0]
        except (ValueError, IndexError) as exc:
            yield Flaw(
                path, f"the command of {config.name} cannot be split into words: {exc}", "quote it as for a shell"
            )
            continue
        if config.autostart and not shutil.which(program, path=config.environment.get("PATH") or env.get("PATH")):
            yield Flaw(path, f"{config.name}: there is no program {program}", "install it, or set autostart=false")
