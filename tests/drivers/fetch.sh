#!/usr/bin/env bash
# Brings the drivers into target/drivers, in the versions that the lock files pin, each where its
# toolchain is found. What is there already is left alone.
set -euo pipefail
cd "$(dirname "$0")"
drivers=$PWD/../../target/drivers
mkdir -p "$drivers"

# Whether $1 was made from the files behind it.
current() { sha256sum "${@:2}" | cmp -s - "$drivers/$1/.made-from"; }
made() { sha256sum "${@:2}" >"$drivers/$1/.made-from"; }

python() {
  current python requirements.txt && return
  rm -rf "$drivers/python"
  python3 -m venv "$drivers/python"
  timeout 300 "$drivers/python/bin/pip" install --quiet --require-hashes --only-binary :all: -r requirements.txt
  made python requirements.txt
}

node() {
  current node node-postgres/package-lock.json && return
  rm -rf "$drivers/node"
  mkdir "$drivers/node"
  cp node-postgres/package*.json "$drivers/node"
  timeout 300 npm ci --prefix "$drivers/node" --silent --ignore-scripts
  made node node-postgres/package-lock.json
}

pgx() {
  current pgx pgx/go.mod pgx/go.sum pgx/main.go && return
  mkdir -p "$drivers/pgx"
  (cd pgx && GOFLAGS=-mod=readonly GOTOOLCHAIN=local timeout 300 go build -o "$drivers/pgx/scenarios" .)
  made pgx pgx/go.mod pgx/go.sum pgx/main.go
}

jdbc() {
  current jdbc jdbc/SHA256SUMS jdbc/Scenarios.java && return
  rm -rf "$drivers/jdbc"
  timeout 300 mvn -q -B -f jdbc/pom.xml dependency:copy -DoutputDirectory="$drivers/jdbc"
  (cd "$drivers/jdbc" && sha256sum --quiet --check) <jdbc/SHA256SUMS
  javac -cp "$drivers/jdbc/*" -d "$drivers/jdbc" jdbc/Scenarios.java
  made jdbc jdbc/SHA256SUMS jdbc/Scenarios.java
}

failed=0
jobs=()
start() {
  ("$1") >"$drivers/$1.log" 2>&1 &
  jobs+=("$! $1")
}

python3 -c 'import venv, ensurepip' 2>/dev/null && start python
command -v npm >/dev/null && start node
command -v go >/dev/null && start pgx
command -v mvn >/dev/null && command -v javac >/dev/null && start jdbc
for job in "${jobs[@]}"; do
  wait "${job% *}" || {
    failed=1
    echo "setup: fetching the driver for ${job#* } failed:" >&2
    tail -n 20 "$drivers/${job#* }.log" >&2
  }
done
exit "$failed"
