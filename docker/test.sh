#!/usr/bin/env bash
# docker/test.sh: starts docker/compose.yaml, kills a worker, cuts the rig from the hub, and says what it saw. It fails if a
# window that was drafted gets no last word, or two, or if anything else is not as it should be. Builds images that are not
# there; BUILD=1 builds them all.
set -euo pipefail
cd "$(dirname "$0")/.."
docker/passwords.sh
# A free port for the page.
export MSAO_DASH_PORT=
if docker compose version >/dev/null 2>&1; then compose=(docker compose); else compose=(docker-compose); fi
compose() { "${compose[@]}" -p msao-test -f docker/compose.yaml "$@"; }
work=$(mktemp -d)
reader=
finish() {
    local code=$?
    if [ $code != 0 ]; then
        compose ps
        compose logs --tail=20
    fi
    [ -z "$reader" ] || kill "$reader" 2>/dev/null || true
    compose --profile tools down -v --remove-orphans >/dev/null 2>&1 || compose down -v --remove-orphans >/dev/null 2>&1
    rm -rf "$work"
    exit $code
}
trap finish EXIT

begun=$SECONDS
say() { printf '%4d s  %s\n' "$((SECONDS - begun))" "$*"; }
id() { compose ps -q "$1"; }
# until SECONDS WHAT COMMAND...: waits for the command to succeed.
until_() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ $SECONDS -lt $end ] || { say "not in time: $what"; exit 1; }
        sleep 0.2
    done
    say "$what"
}
healthy() { [ "$(docker inspect -f '{{.State.Health.Status}}' "$(id "$1")")" = healthy ]; }
unhealthy() { [ "$(docker inspect -f '{{.State.Health.Status}}' "$(id "$1")")" = unhealthy ]; }
# metric SERVICE NAME: its value, a whole number.
metric() {
    docker exec "$(id "$1")" bash -c 'exec 3<>/dev/tcp/127.0.0.1/9464; printf "GET /metrics HTTP/1.0\r\n\r\n" >&3; cat <&3' |
        awk -v name="$2" 'index($1, name "{") == 1 { sum += $2 } END { printf "%d\n", sum }'
}
more() { [ "$(metric "$1" "$2")" -ge "$3" ]; }
# judge QUESTION...: asks docker/judge.py of what the reader got.
judge() { python3 docker/judge.py "$work/captions" "$@"; }

# The first line that the page answers, asked within its container.
page() {
    docker exec "$(id dash)" bash -c 'exec 3<>/dev/tcp/127.0.0.1/8790; printf "GET $1 HTTP/1.0\r\nHost: localhost:8790\r\n\r\n" >&3; head -n 1 <&3' page "$1"
}
# With the token it gives a cookie, and shows itself.
page_is_up() { page "/?token=$(docker exec "$(id dash)" printenv MSAO_DASH_TOKEN)" | grep -q ' 303 '; }

[ -z "${BUILD:-}" ] || compose build
compose up -d >"$work/up.log" 2>&1 || { cat "$work/up.log"; exit 1; }
for service in hub leaf cloud-a cloud-b edge; do until_ 120 "$service is healthy" healthy $service; done
until_ 60 "the page is there" page_is_up
page / | grep -q ' 401 ' || { say "the page asks for no token"; exit 1; }
for service in hub leaf cloud-a cloud-b edge dash; do
    user=$(docker exec "$(id $service)" id -u)
    [ "$user" != 0 ] || { say "$service runs as root"; exit 1; }
done
compose run --rm -T watch watch --nats nats://hub:4222 --user reader --password env:MSAO_READER_PASSWORD --all --json >"$work/captions" 2>"$work/reader.log" &
reader=$!
until_ 120 "five windows have a last word" judge last 5

docker kill "$(id cloud-a)" >/dev/null
say "cloud-a is killed"
before=$(judge count)
until_ 60 "five more have one" judge last $((before + 5))
until_ 60 "and all that were drafted until then" judge settled
docker start "$(id cloud-a)" >/dev/null
until_ 60 "cloud-a is healthy again" healthy cloud-a

cut=$(date +%s)
docker network disconnect msao-test_uplink "$(id leaf)"
say "the rig is cut from the hub"
until_ 90 "twenty of its windows wait" more edge msao_edge_waiting_windows 20
healthy edge || { say "the edge is not well without the hub"; exit 1; }
mended=$(date +%s)
docker network connect msao-test_uplink "$(id leaf)"
say "the rig is connected again"
until_ 180 "what was drafted meanwhile has a last word" judge between "$cut" "$mended"
until_ 60 "and all others" judge settled

docker pause "$(id hub)" >/dev/null
say "the hub is stopped"
until_ 90 "cloud-b is not healthy, as NATS is away" unhealthy cloud-b
docker unpause "$(id hub)" >/dev/null
until_ 90 "cloud-b is healthy again" healthy cloud-b
until_ 120 "all windows have a last word" judge settled
judge report
