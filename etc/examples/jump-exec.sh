#!/bin/sh
# A program for provider = "exec" in [tunnel.on-demand] of bastion.toml(5): starts, stops and describes the jump host by a
# small HTTP API. Put it where root alone may write, and change what is marked by HERE:
#
#   install -m 0755 jump-exec.sh /usr/local/sbin/my-cloud
#   command = ["/usr/local/sbin/my-cloud"]
#
# It runs as _tunnelwatch inside the sandbox of tunnelwatch.service: no sudo, no home directory, nothing to write to. The
# token is /etc/bastion/tunnel-secrets/my-cloud, which systemd hands over. Try it: tunnelwatch jump start|status.
set -u

# HERE: the API, and the machine.
api=${MY_CLOUD_API:-https://api.example.org/v1/servers/4711}

fail() {
    echo "$2" >&2
    exit "$1"
}

[ -r "${CREDENTIALS_DIRECTORY:-}/secrets_my-cloud" ] || fail 78 "the token is missing: /etc/bastion/tunnel-secrets/my-cloud"

# The token is not among the arguments, which anybody on this machine may read. HERE: --interface wwan0, as the main line
# is down when this matters.
call() {
    body=$(sed 's/.*/header = "Authorization: Bearer &"/' "$CREDENTIALS_DIRECTORY/secrets_my-cloud" |
        curl --silent --max-time 20 --config - --write-out '\n%{http_code}' --request "$1" "$api$2") ||
        fail 69 "no answer from the API (curl ended with $?)"
    status=${body##*
}
    case $status in
    2??) ;;
    401 | 403) fail 77 "the API refuses the token" ;;
    404) echo '{"state":"gone"}'; exit 0 ;;
    429) echo '{"retry-after-s":60}'; fail 75 "asked too often" ;;
    5??) fail 69 "the API answers $status" ;;
    *) fail 75 "the API answers $status" ;;
    esac
}

case ${1:-} in
start | stop) call POST "/$1" ;;
describe) ;;
*) fail 78 "start, stop or describe, not: ${1:-}" ;;
esac

call GET ""
# HERE: the words of your API, and where it has the address.
word() { printf '%s' "$body" | tr -d '\n' | sed -n "s/.*\"$1\" *: *\"\([0-9A-Za-z.:_-]*\)\".*/\1/p"; }
case $(word status) in
stopped | off) state=off ;;
starting) state=starting ;;
running | on) state=on ;;
stopping) state=stopping ;;
*) fail 78 "the API says a status that is not known here: $(word status)" ;;
esac
address=$(word ipv4)
echo "{\"state\":\"$state\"${address:+,\"address\":\"$address\"}}"
