//go:build !race

package config_test

const slowdown = 1
