#!/bin/sh
# Runs the example in a directory of its own: one of three pages is missing at first.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
PATH="$top/bin:$PATH"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/jobs.yaml" "$work/"
cd "$work"
printf 'home\nnews\nabout\n' > index
echo "welcome to the house" > home.txt
echo "we have moved" > about.txt
touch published

say() { printf '\n=== %s\n' "$*"; }

say "What would happen:  jobcontrol -c jobs.yaml plan report"
jobcontrol -c jobs.yaml plan report

say "One page is missing: the others are counted and published."
echo "    jobcontrol -c jobs.yaml run report"
status=0
jobcontrol -c jobs.yaml run report || status=$?
[ "$status" -eq 1 ] || { echo "expected exit status 1, got $status" >&2; exit 1; }

say "It is written. Only what failed is done again:"
echo "much has happened since" > news.txt
echo "    jobcontrol -c jobs.yaml runs again 1 --failed"
jobcontrol -c jobs.yaml runs again 1 --failed

say "Its item is a job with a history of its own:  jobcontrol -c jobs.yaml builds 'count[news]'"
jobcontrol -c jobs.yaml builds 'count[news]'

say "What depends on it follows:  jobcontrol -c jobs.yaml build report --deps outdated"
jobcontrol -c jobs.yaml build report --deps outdated
cat report
