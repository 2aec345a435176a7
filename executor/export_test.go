//go:build linux

package executor

// WithoutChildrenFile makes e find children as where /proc does not list them.
// A command must have been executed.
func WithoutChildrenFile(e *Executor) {
	_ = e.commands.forest.census.children.Close()
	e.commands.forest.census.children = nil
}

// WithoutPidfd makes e wait for commands as on a kernel that has no pidfds.
func WithoutPidfd(e *Executor) { e.commands.noPidfd = true }
