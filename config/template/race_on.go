//go:build race

package template

// underRace says that the race detector is on: its shadow of the memory does not fit into
// the limit that the system holds.
const underRace = true
