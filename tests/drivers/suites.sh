#!/usr/bin/env bash
# Brings the test suites of drivers into target/driver-suites, each where its toolchain is found: pgx's from its
# module, asyncpg's and psycopg2's from their source distributions, tokio-postgres's from its crate, node-postgres's
# from Debian's source package, pgjdbc's from its source on Maven Central. psycopg 3 is published without its own where
# this looks.
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

if python3 -c 'import venv, ensurepip' 2>/dev/null && [ ! -e "$suites/psycopg2/.complete" ]; then
  echo "fetching the suite of psycopg2"
  rm -rf "$suites/psycopg2"
  python3 -m venv "$suites/psycopg2"
  pip=$suites/psycopg2/bin/pip
  "$pip" install --quiet --require-hashes --only-binary :all: -r suites/psycopg2.txt
  version=$(sed -n 's/^psycopg2-binary==\([^ ]*\).*/\1/p' suites/psycopg2.txt)
  "$pip" download --quiet --no-deps --require-hashes --no-binary :all: \
    --dest "$suites/psycopg2" -r suites/psycopg2-source.txt
  tar -xzf "$suites/psycopg2/psycopg2-$version.tar.gz" -C "$suites/psycopg2" --strip-components 1 \
    "psycopg2-$version/tests"
  touch "$suites/psycopg2/.complete"
fi

if [ ! -e "$suites/tokio-postgres/.complete" ]; then
  echo "fetching the suite of tokio-postgres"
  rm -rf "$suites/tokio-postgres"
  # The very crate that Segue is built with.
  platform=$(rustc -vV | sed -n 's/^host: //p')
  manifest=$(cargo metadata --format-version 1 --locked --filter-platform "$platform" |
    grep -o '"manifest_path":"[^"]*/tokio-postgres-[0-9.]*/Cargo.toml"' | cut -d'"' -f4)
  cp -r "$(dirname "$manifest")" "$suites/tokio-postgres"
  mv "$suites/tokio-postgres/tests" "$suites/tokio-postgres/tests.published"
  # Without its benchmark, and what that alone needs.
  sed -i -e '/^\[\[bench\]\]/,/^$/d' -e '/^\[dev-dependencies.criterion\]/,/^$/d' "$suites/tokio-postgres/Cargo.toml"
  printf '\n[workspace]\n' >>"$suites/tokio-postgres/Cargo.toml"
  touch "$suites/tokio-postgres/.complete"
fi

if command -v npm >/dev/null && [ ! -e "$suites/node-postgres/.complete" ]; then
  echo "fetching the suite of node-postgres"
  rm -rf "$suites/node-postgres"
  mkdir -p "$suites/node-postgres"
  cp suites/node-postgres/package*.json "$suites/node-postgres"
  timeout 300 npm ci --prefix "$suites/node-postgres" --silent --ignore-scripts
  source=node-postgres_8.16.3+~cs35.24.27.orig.tar.gz
  if curl -fsSL --max-time 120 -o "$suites/node-postgres/source.tar.gz" \
    "http://deb.debian.org/debian/pool/main/n/node-postgres/$source"; then
    echo "03803c9ccfca47b63bf57bf3f166002ee64652a7e26c2d91fb94da19d769381e  $suites/node-postgres/source.tar.gz" |
      sha256sum --quiet --check
    tar -xzf "$suites/node-postgres/source.tar.gz" -C "$suites/node-postgres" --strip-components 1 \
      --wildcards '*/packages/pg'
    touch "$suites/node-postgres/.complete"
  else
    # Debian keeps a source only for as long as it has the package.
    echo "the source of node-postgres is not to be had"
  fi
fi

if command -v mvn >/dev/null && command -v javac >/dev/null && [ ! -e "$suites/pgjdbc/.complete" ]; then
  echo "fetching the suite of pgjdbc"
  rm -rf "$suites/pgjdbc"
  mkdir -p "$suites/pgjdbc"
  dependency=org.apache.maven.plugins:maven-dependency-plugin:3.8.1
  for artifact in org.postgresql:postgresql:42.7.10:tar.gz:jdbc-src \
    org.junit.platform:junit-platform-console-standalone:1.14.1; do
    timeout 300 mvn -q -B "$dependency:copy" "-Dartifact=$artifact" "-DoutputDirectory=$suites/pgjdbc"
  done
  sums=$PWD/suites/pgjdbc.SHA256SUMS
  (cd "$suites/pgjdbc" && grep -v ' lib/' "$sums" | sha256sum --quiet --check)
  tar -xzf "$suites/pgjdbc/postgresql-42.7.10-jdbc-src.tar.gz" -C "$suites/pgjdbc" --strip-components 1
  (cd "$suites/pgjdbc" && timeout 600 mvn -q -B -DskipShadeDependencies=true test-compile \
    "$dependency:copy-dependencies" -DoutputDirectory=lib && sha256sum --quiet --check "$sums")
  touch "$suites/pgjdbc/.complete"
fi
