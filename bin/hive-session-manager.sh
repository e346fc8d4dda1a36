#!/bin/sh
# The original session manager under its own name: same words in, same bytes and exit codes out, from hive-session.
#
# Takes .venv/bin/hive-session of the checkout that it (or what links to it) stands in, else hive-session from PATH.
# As in the original, what follows `create` is task, priority and metadata, whatever they look like: no options.
# Exit: hive-session's own | 1 no such command (usage on stdout) | 69 hive-session is not installed
set -eu

usage() {
    cat <<'END'
Hive-Mind Session Manager

Usage:
  hive-session-manager.sh create <task> [priority] [metadata]   make a session, print its id (high, medium, low; a JSON object)
  hive-session-manager.sh start <id> [agent args...]            run it, follow its log, exit with the agent's code
  hive-session-manager.sh stop <id>                             end it
  hive-session-manager.sh status <id>                           created, starting, running, completed or failed
  hive-session-manager.sh get <id>                              its record, JSON
  hive-session-manager.sh list                                  all sessions, JSON
  hive-session-manager.sh output-dir <id>                       the directory of its artefacts
  hive-session-manager.sh log <id>                              the path of its log
  hive-session-manager.sh update-status <id> <status>           set the status of a session that something else runs
  hive-session-manager.sh cleanup [hours]                       remove sessions that ended so long ago (24)
  hive-session-manager.sh init                                  make directories and index

Examples:
  id=$(hive-session-manager.sh create "Build the importer" high)
  hive-session-manager.sh start "$id"

Every other command of hive-session works here too: hive-session --help lists them.
END
    exit 1
}

find_program() {
    here=$(dirname -- "$(readlink -f -- "$0")")
    program=$here/../.venv/bin/hive-session
    [ -x "$program" ] || program=$(command -v hive-session) || {
        echo 'hive-session-manager: hive-session is not installed; run bin/setup of its checkout' >&2
        exit 69
    }
}

case ${1-} in
    create)
        shift
        find_program
        exec "$program" create -- "$@"
        ;;
    start | stop | status | get | list | output-dir | log | update-status | cleanup | init | \
        run | resume | wait | ls | watch | top | logs | telemetry | emit | vacuum | reconcile | reindex | doctor)
        find_program
        exec "$program" "$@"
        ;;
    *) usage ;;
esac
