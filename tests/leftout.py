"""Skips under account: in CI an unlisted one fails; elsewhere the last lines say what was left out."""

import os
import tomllib
from collections import defaultdict
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TypeVar

import pytest

LIST = "tests/skips.toml"

Report = pytest.TestReport | pytest.CollectReport
R = TypeVar("R", pytest.TestReport, pytest.CollectReport)


def read_listed(root: Path) -> dict[str, str]:
    """Test id (without parameters) -> why it cannot run in CI, from the list under `root`.

    Raises: pytest.UsageError for an entry without a reason, or for a test that does not exist.
    """
    listed = {}
    for test, entry in tomllib.loads((root / LIST).read_text(encoding="utf-8")).items():
        if not (isinstance(entry, dict) and isinstance(entry.get("reason"), str) and entry["reason"].strip()):
            raise pytest.UsageError(f'{LIST}: {test} lacks its reason (write: reason = "...")')
        file, _, name = test.partition("::")
        source = (root / file).read_text(encoding="utf-8") if (root / file).is_file() else ""
        if f"def {name.rpartition('::')[2]}(" not in source:
            raise pytest.UsageError(f"{LIST}: there is no test {test} (remove the entry)")
        listed[test] = entry["reason"]
    return listed


def is_skip(report: Report) -> bool:
    """True for a skip that left something out; an expected failure (xfail) ran and is none."""
    return report.skipped and not hasattr(report, "wasxfail")


def reason_of(report: Report) -> str:
    """What the skip gave as its reason, in one line."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    return " ".join(text.removeprefix("Skipped:").split())


def left_out_lines(reports: list[Report]) -> list[str]:
    """One line for each file and reason, in the order of first appearance."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for report in reports:
        groups[report.nodeid.partition("::")[0], reason_of(report)].append(report.nodeid)
    return [
        f"left out: {tests[0] if len(tests) == 1 else f'{file}, {len(tests)} tests'}: {reason}"
        for (file, reason), tests in groups.items()
    ]


class SkipAccount:
    """The hooks of one test run: `listed` skips may happen in CI, all others become failures there."""

    def __init__(self, config: pytest.Config, *, in_ci: bool, listed: Mapping[str, str]) -> None:
        self._config = config
        self._in_ci = in_ci
        self._listed = listed
        self._reports: list[Report] = []

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        return self._judged(report)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(self) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        report = yield
        return self._judged(report)

    def _judged(self, report: R) -> R:
        if self._in_ci and is_skip(report) and report.nodeid.partition("[")[0] not in self._listed:
            reason = reason_of(report)
            report.outcome = "failed"
            report.longrepr = (
                f"skipped in CI: {reason}\n  make it run there, or name {report.nodeid} in {LIST} with the reason"
            )
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._count(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._count(report)

    def _count(self, report: Report) -> None:
        if is_skip(report):
            self._reports.append(report)

    def pytest_unconfigure(self) -> None:
        """Comes after pytest's closing line, which must stay the last one in CI."""
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None and not self._in_ci:
            for line in left_out_lines(self._reports):
                terminal.write_line(line)


def pytest_configure(config: pytest.Config) -> None:
    """Open the account, from the environment (CI=true) and tests/skips.toml."""
    listed = read_listed(config.rootpath)
    account = SkipAccount(config, in_ci=os.environ.get("CI") == "true", listed=listed)
    config.pluginmanager.register(account, "skip-account")
