//go:build !linux

package template

import (
	"os"
	"os/exec"
)

func ownProgram() string {
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

func dieWithParent(*exec.Cmd) {}

func limitData(uint64) {}
