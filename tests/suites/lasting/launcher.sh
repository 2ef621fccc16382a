#!/bin/sh
# Runs an isolation tester; the sessions of a spec with a schema of its own find their tables there.
spec=$(mktemp) || exit
trap 'rm -f "$spec"' EXIT
cat >"$spec"
schema=$(sed -n 's/^# its tables are in //p' "$spec")
[ -z "$schema" ] || export PGOPTIONS="${PGOPTIONS:-} -c search_path=$schema,public"
"$@" <"$spec"
