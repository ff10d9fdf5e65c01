#!/usr/bin/env bash
# Runs a cluster of three bridges on this machine: see README.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
PATH=$PATH:/usr/sbin
work=$(mktemp -d)
declare -A pids

finish() {
  local pid
  for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap finish EXIT

# run NAME COMMAND... runs it in the background; its output goes to a file.
run() {
  local name=$1
  shift
  "$@" >>"$work/$name.log" 2>&1 &
  pids[$name]=$!
  disown # its end is no news
}

start() {
  case $1 in
    nats) run nats nats-server -a 127.0.0.1 -p 4222 ;;
    page) run page "$work/bridge" demo --listen 127.0.0.1:8090 ;;
    [123]) run "$1" "$work/bridge" serve --listen "127.0.0.1:808$1" --admin "127.0.0.1:908$1" --backend 127.0.0.1:8090 \
      --cluster nats://127.0.0.1:4222 --trusted-proxy 127.0.0.0/8 --allow-host 127.0.0.1 --drain-timeout 1h ;;
    nginx) run nginx nginx -p "$work" -c "$here/nginx.conf" -e "$work/nginx.log" -g 'daemon off;' ;;
    haproxy) run haproxy haproxy -db -f "$here/haproxy.cfg" ;;
    *) echo "start what? nats, 1, 2 or 3" ;;
  esac
}

end() { # end SIGNAL NAME
  [ -n "${pids[$2]:-}" ] && kill "$1" "${pids[$2]}" || echo "which? nats, 1, 2 or 3, if it runs"
}

status() {
  local n metrics
  for n in 1 2 3; do
    metrics=$(curl -fs -m 2 "http://127.0.0.1:908$n/metrics") || { echo "bridge $n is away"; continue; }
    awk -v n="$n" '
        $1 == "pollbridge_sessions" { sessions = $2 }
        $1 ~ /^pollbridge_streams{.*session/ { rpcs = $2 }
        $1 ~ /^pollbridge_cluster_links{.*"out"/ { out = $2 }
        $1 ~ /^pollbridge_cluster_links{.*"in"/ { into = $2 }
        END { printf "bridge %d: %d sessions, %d RPCs; links of others that landed here: %d, of its own that landed elsewhere: %d\n", n, sessions, rpcs, out, into }' <<<"$metrics"
  done
}

(cd "$here/../.." && go build -o "$work/bridge" ./cmd/bridge)
for name in nats page 1 2 3 "${1:-nginx}"; do start "$name"; done
echo 'http://127.0.0.1:8080 is the demo; status, drain N, kill N, start N, kill nats, start nats, quit'
while read -r -p '> ' command name; do
  case $command in
    status) status ;;
    drain) end -TERM "$name" ;;
    kill) end -KILL "$name" ;;
    start) start "$name" ;;
    quit) exit ;;
    *) echo 'status, drain N, kill N, start N, kill nats, start nats, quit' ;;
  esac
done
