#!/bin/sh
# Runs the example twice in a directory of its own and shows what happened.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
PATH="$top/bin:$PATH"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/jobs.yaml" "$work/"
cd "$work"
mkdir room
export NO_COLOR="${NO_COLOR-}"
[ -n "$NO_COLOR" ] || unset NO_COLOR

say() { printf '\n=== %s\n' "$*"; }

say "What would happen (only checks are executed):  jobcontrol -c jobs.yaml plan WatchMovie"
jobcontrol -c jobs.yaml plan WatchMovie

say "First run: the batteries are dead and the couch is full."
echo "    jobcontrol -c jobs.yaml run WatchMovie"
status=0
jobcontrol -c jobs.yaml run WatchMovie || status=$?
[ "$status" -eq 1 ] || { echo "expected exit status 1, got $status" >&2; exit 1; }

say "Second run: both are mended. What is done already is not done again."
echo "    jobcontrol -c jobs.yaml run WatchMovie --kwarg battery_state=charged --kwarg couch_space=yes"
jobcontrol -c jobs.yaml run WatchMovie --kwarg battery_state=charged --kwarg couch_space=yes

say "The story is kept:  jobcontrol -c jobs.yaml runs"
jobcontrol -c jobs.yaml runs
last=$(jobcontrol -c jobs.yaml --format json runs | sed -n 's/^[^0-9]*"id": *\([0-9]*\).*/\1/p' | head -n 1)
say "Why the second run did less:  jobcontrol -c jobs.yaml runs show $last"
jobcontrol -c jobs.yaml runs show "$last"
