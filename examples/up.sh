#!/usr/bin/env bash
# Runs the gateway over mcp.json beside this script, with the one upstream of it that has to be started by hand:
# server-everything over Streamable HTTP.
set -euo pipefail
set -m # each background job gets a process group of its own, so that npx and what it starts end together

export EVERYTHING_PORT="${EVERYTHING_PORT:-3901}"
here="$(dirname "$0")"
log="$(mktemp -t server-everything.XXXXXX)"

PORT="$EVERYTHING_PORT" npx -y @modelcontextprotocol/server-everything streamableHttp >"$log" 2>&1 </dev/null &
everything=$!
trap 'kill -- -"$everything" 2>/dev/null || true; rm -f "$log"' EXIT

echo "starting server-everything on port $EVERYTHING_PORT (the first time it is downloaded) ..."
for _ in $(seq 600); do
  if (exec 3<>"/dev/tcp/127.0.0.1/$EVERYTHING_PORT") 2>/dev/null; then break; fi
  kill -0 "$everything" 2>/dev/null || { cat "$log" >&2; break; }
  sleep 0.1
done

trunkline up "$@" "$here/mcp.json"
