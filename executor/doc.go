// Package executor executes tasks: Go functions and commands.
package executor
