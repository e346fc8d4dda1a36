"""Where every file of the suite lives, derived from one workspace; pure, and free of costly imports for hot reads."""

TYPE_CHECKING = False  # collections.abc is left out: it would add a seventh to the time that `status` takes
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CONTAINER_WORKSPACE = "/workspace"  # taken where it exists: the container's mount point
SWARM = ".swarm"
ROOT_INSTANCE = "root-cli-instance"
SERVER_INSTANCE = "tcp-server-instance"


def default_workspace(env: "Mapping[str, str]", home: str, exists: "Callable[[str], bool]") -> str:
    """The workspace directory: HIVE_WORKSPACE, else /workspace where it exists, else ~/.local/state/hive."""
    chosen = env.get("HIVE_WORKSPACE", "")
    if chosen:
        return chosen.rstrip("/") or "/"
    return CONTAINER_WORKSPACE if exists(CONTAINER_WORKSPACE) else f"{home}/.local/state/hive"


def is_session_id(text: str) -> bool:
    """True for a lower-case RFC 9562 UUID in its 8-4-4-4-12 form, the only name a session directory can have."""
    if len(text) != 36 or [i for i, c in enumerate(text) if c == "-"] != [8, 13, 18, 23]:
        return False
    return all(c in "0123456789abcdef-" for c in text)


class SessionPaths:
    """The files of one session; `docs/format.md` says of each who writes and who reads it."""

    __slots__ = ("dir", "id", "log_dir", "output_root")

    def __init__(self, directory: str, session_id: str, output_root: str, log_dir: str) -> None:
        self.dir = directory
        self.id = session_id
        self.output_root = output_root
        self.log_dir = log_dir

    def at(self, name: str) -> str:
        """The path of the file `name` in the session directory."""
        return f"{self.dir}/{name}"

    @property
    def record(self) -> str:
        return f"{self.dir}/session.json"

    @property
    def lock(self) -> str:
        return f"{self.dir}/lock"

    @property
    def run_lock(self) -> str:
        return f"{self.dir}/run.lock"

    @property
    def exit(self) -> str:
        return f"{self.dir}/exit"

    @property
    def claude_exit(self) -> str:
        return f"{self.dir}/claude.exit"

    @property
    def claude_stream(self) -> str:
        return f"{self.dir}/claude.jsonl"

    @property
    def telemetry(self) -> str:
        return f"{self.dir}/telemetry.jsonl"

    @property
    def stop_request(self) -> str:
        return f"{self.dir}/stop"

    @property
    def task_file(self) -> str:
        return f"{self.dir}/task.md"

    @property
    def env_file(self) -> str:
        return f"{self.dir}/env.json"

    @property
    def log_base(self) -> str:
        return f"{self.dir}/log.base"

    @property
    def bin(self) -> str:
        return f"{self.dir}/bin"

    @property
    def database(self) -> str:
        return f"{self.dir}/{SWARM}/memory.db"

    @property
    def output(self) -> str:
        return f"{self.output_root}/{self.id}"

    @property
    def log(self) -> str:
        return f"{self.log_dir}/hive-{self.id}.log"


class Layout:
    """All shared paths of one workspace, and the paths of each of its sessions."""

    __slots__ = ("log_dir", "output_root", "workspace")

    def __init__(self, workspace: str, output_root: str, log_dir: str) -> None:
        self.workspace = workspace
        self.output_root = output_root
        self.log_dir = log_dir

    @property
    def swarm(self) -> str:
        return f"{self.workspace}/{SWARM}"

    @property
    def sessions(self) -> str:
        return f"{self.workspace}/{SWARM}/sessions"

    @property
    def index(self) -> str:
        return f"{self.sessions}/index.json"

    @property
    def index_lock(self) -> str:
        return f"{self.sessions}/.lock"

    @property
    def trash(self) -> str:
        return f"{self.workspace}/{SWARM}/trash"

    @property
    def server_instance(self) -> str:
        """Where mcp-tcp works."""
        return f"{self.workspace}/{SWARM}/{SERVER_INSTANCE}"

    @property
    def audit(self) -> str:
        return f"{self.workspace}/{SWARM}/audit.jsonl"

    @property
    def reconciled(self) -> str:
        """What the last `reconcile` found and did."""
        return f"{self.workspace}/{SWARM}/reconcile.json"

    @property
    def slots(self) -> str:
        return f"{self.workspace}/{SWARM}/slots"

    @property
    def shared_database(self) -> str:
        """The file that must never exist: a database shared by everything that runs in the workspace."""
        return f"{self.workspace}/{SWARM}/memory.db"

    def session(self, session_id: str) -> SessionPaths:
        return SessionPaths(f"{self.sessions}/{session_id}", session_id, self.output_root, self.log_dir)


def resolve_layout(env: "Mapping[str, str]", home: str, exists: "Callable[[str], bool]") -> Layout:
    """The layout that HIVE_WORKSPACE, HIVE_OUTPUT_ROOT and HIVE_LOG_DIR describe; defaults as in docs/format.md."""
    workspace = default_workspace(env, home, exists)
    in_container = workspace == CONTAINER_WORKSPACE
    output_root = env.get("HIVE_OUTPUT_ROOT") or f"{workspace}/ext/hive-sessions"
    log_dir = env.get("HIVE_LOG_DIR") or ("/var/log/multi-agent" if in_container else f"{workspace}/logs")
    return Layout(workspace, output_root.rstrip("/") or "/", log_dir.rstrip("/") or "/")
