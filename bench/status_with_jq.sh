#!/bin/bash
# The peer of `hive-session status ID`: a bash script that lets jq read session.json, as the manager before this one did.
set -e
sessions=$HIVE_WORKSPACE/.swarm/sessions

print_status() {
    local record=$sessions/$1/session.json
    if [ ! -f "$record" ]; then
        echo not_found
        return 1
    fi
    jq -r .status "$record"
}

case ${1-} in
    status) print_status "$2" ;;
    *) echo 'usage: status_with_jq.sh status ID'; exit 1 ;;
esac
