#!/usr/bin/env bash
# Brings what PostgreSQL's own test suites need and this machine lacks: Debian's package with their
# drivers, the tests from PostgreSQL's source, and the library that the tests load. Prints the
# directory of the source. Where all is there it does nothing and needs no network.
set -euo pipefail
cd "$(dirname "$0")/../.."

major=15
programs=/usr/lib/postgresql/$major
drivers=$programs/lib/pgxs/src/test
fetched=target/suites

say() { echo "suites: $*" >&2; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

missing=()
[ -x "$drivers/regress/pg_regress" ] && [ -x "$drivers/isolation/isolationtester" ] ||
  missing+=(postgresql-$major postgresql-server-dev-$major)
command -v curl >/dev/null || missing+=(curl)
command -v bzip2 >/dev/null || missing+=(bzip2)
command -v cc >/dev/null || missing+=(build-essential)
command -v patch >/dev/null || missing+=(patch)
if [ ${#missing[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    say "missing, as Debian names them: ${missing[*]}; please install them"
    exit 1
  fi
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  as_root apt-get -qq update >&2
  as_root apt-get -qq install -y --no-install-recommends "${missing[@]}" >&2
fi

version=$("$programs/bin/postgres" --version | sed 's/^postgres (PostgreSQL) \([0-9.]*\).*/\1/')

# From Debian's archive, with lists of our own: the machine's may not name source packages.
from_debian() { # VERSION or "any"
  local apt=$PWD/$fetched/apt
  local keys=/usr/share/keyrings/debian-archive-keyring.gpg release
  [ -r "$keys" ] || return 1
  release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/got"
  {
    echo "deb-src [signed-by=$keys] http://deb.debian.org/debian $release main"
    echo "deb-src [signed-by=$keys] http://deb.debian.org/debian $release-updates main"
    echo "deb-src [signed-by=$keys] http://deb.debian.org/debian-security $release-security main"
  } >"$apt/sources.list"
  local options=(-qq -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=-
    -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update >&2 || return 1
  local wanted
  wanted=$(apt-cache "${options[@]}" showsrc "postgresql-$major" | sed -n 's/^Version: //p' |
    { [ "$1" = any ] && sort -rV || grep -F "$1-"; } || true)
  local one
  for one in $wanted; do
    if (cd "$apt/got" &&
        apt-get "${options[@]}" source --download-only --tar-only "postgresql-$major=$one" >&2); then
      mv "$apt/got"/postgresql-$major*.orig.tar.* "$fetched/source.tar.bz2"
      return 0
    fi
  done
  return 1
}

from_postgresql() {
  curl -fsSL --max-time 300 -o "$fetched/source.tar.bz2" \
    "https://ftp.postgresql.org/pub/source/v$version/postgresql-$version.tar.bz2"
}

source_found() { compgen -G "$fetched/postgresql-$major.*/src/test/regress/regress.c" | head -1; }

mkdir -p "$fetched"
if [ -z "$(source_found)" ]; then
  say "fetching the source of PostgreSQL $version"
  from_debian "$version" || from_postgresql || {
    say "the source of $version is not to be had; taking another $major"
    from_debian any
  } || {
    say "no source of PostgreSQL $major could be fetched; unpack one into $fetched/"
    exit 1
  }
  tar -xf "$fetched/source.tar.bz2" -C "$fetched" --wildcards \
    'postgresql-*/src/test/regress' 'postgresql-*/src/test/isolation'
  rm -rf "$fetched/source.tar.bz2" "$fetched/apt"
fi
source=$(dirname "$(dirname "$(dirname "$(dirname "$(source_found)")")")")
case $source in
*-"$version") ;;
*)
  say "the tests are those of ${source##*-}, the server is $version: some may fail directly, too"
  # Since August 2026 psql skips the lines behind a COPY FROM stdin that failed, up to a "\.", and
  # PostgreSQL's own tests have gained one there (release notes of 18.6). Those of before get it here.
  terminators=$PWD/tests/suites/terminators.patch
  (cd "$source/src/test/regress" && patch -p1 --quiet --forward --dry-run <"$terminators" &&
    patch -p1 --quiet <"$terminators") >/dev/null 2>&1 || true
  ;;
esac

library=$source/src/test/regress/regress.so
if [ ! -e "$library" ]; then
  cc -O1 -fPIC -shared -w -I "$("$programs/bin/pg_config" --includedir-server)" \
    -o "$library.new" "${library%.so}.c"
  mv "$library.new" "$library"
fi
echo "$PWD/$source"
