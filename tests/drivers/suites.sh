#!/usr/bin/env bash
# Brings the test suites of drivers into target/driver-suites, each where its toolchain is found: pgx's from its
# module, asyncpg's from its source distribution. The other drivers are published without theirs.
set -euo pipefail
cd "$(dirname "$0")"
suites=$PWD/../../target/driver-suites
mkdir -p "$suites"

if command -v go >/dev/null && [ ! -e "$suites/pgx/.complete" ]; then
  echo "fetching the suite of pgx"
  rm -rf "$suites/pgx"
  (cd pgx && go mod download)
  cp -r "$(cd pgx && go list -m -f '{{.Dir}}' github.com/jackc/pgx/v5)" "$suites/pgx"
  chmod -R u+w "$suites/pgx"
  touch "$suites/pgx/.complete"
fi

if python3 -c 'import venv, ensurepip' 2>/dev/null && [ ! -e "$suites/asyncpg/.complete" ]; then
  echo "fetching the suite of asyncpg"
  rm -rf "$suites/asyncpg"
  python3 -m venv "$suites/asyncpg"
  pip=$suites/asyncpg/bin/pip
  "$pip" install --quiet --require-hashes --only-binary :all: -r requirements.txt
  # What reading the distribution's metadata needs, and what its tests import.
  "$pip" install --quiet 'setuptools>=77' 'Cython>=3.2,<4' distro
  version=$(sed -n 's/^asyncpg==\([^ ]*\).*/\1/p' requirements.txt)
  "$pip" download --quiet --no-deps --no-build-isolation --no-binary :all: \
    --dest "$suites/asyncpg" "asyncpg==$version"
  tar -xzf "$suites/asyncpg/asyncpg-$version.tar.gz" -C "$suites/asyncpg" --strip-components 1 \
    "asyncpg-$version/tests"
  touch "$suites/asyncpg/.complete"
fi
