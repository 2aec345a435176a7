//go:build race

package config_test

// slowdown is how much slower the race detector makes everything, at most.
const slowdown = 8
