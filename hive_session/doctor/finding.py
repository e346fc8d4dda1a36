"""What every check of the doctor takes and gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hive_session.config import Config
from hive_session.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be. `level`: problem, or warning where work goes on all the same."""

    check: str
    level: str
    what: str
    mend: str
    fix: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Patient:
    """What is examined."""

    store: Store
    config: Config
    env: Mapping[str, str]
