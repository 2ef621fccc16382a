#!/usr/bin/env bash
# Unpacks PostgreSQL servers of several versions into target/postgres/<major>, where Maven can bring
# them. Tests of a version run where its server is found.
set -euo pipefail
cd "$(dirname "$0")"
servers=../../target/postgres

[ "$(uname -sm)" = "Linux x86_64" ] && command -v mvn >/dev/null || exit 0
cmp -s SHA256SUMS "$servers/SHA256SUMS" && exit 0

echo "setup: unpacking PostgreSQL servers for the tests into target/postgres"
rm -rf "$servers"
mkdir -p "$servers"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
timeout 300 mvn -q -B -f pom.xml dependency:copy -DoutputDirectory="$work"
(cd "$work" && sha256sum --quiet --check) <SHA256SUMS
for jar in "$work"/*.jar; do
  version=${jar##*-}
  unpacked=$servers/${version%%.*}
  mkdir "$unpacked"
  unzip -p "$jar" '*.txz' | tar -xJ -C "$unpacked"
done
chmod -R a+rX "$servers"
cp SHA256SUMS "$servers"
