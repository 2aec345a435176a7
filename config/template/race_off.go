//go:build !race

package template

const underRace = false
