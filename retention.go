package jobcontrol

import (
	"context"
	"time"
)

// Retention is the ability of a store to remove what is old.
type Retention interface {
	// Prune removes builds that ended before the given time, with their attempts,
	// logs and progress, and Runs of which nothing is left with their shared
	// values. Kept are, however old:
	//
	//   - the latest build of each job, the latest that finished, the latest
	//     successful one and the latest that changed something;
	//   - builds of Runs that are not final, and builds that an unfinished build
	//     is pinned to;
	//   - builds whose result stands for one that is kept ([Build.ResultOf]);
	//   - builds of jobs with on_delete: [Pruned.OnDelete].
	//
	// One call removes at most n builds one by one. A store that can remove many at
	// once may do so beyond that, and may leave younger ones, though they ended
	// before the given time, until it can remove them so: a week later at most.
	Prune(ctx context.Context, before time.Time, n int) (*Pruned, error)
}

// Pruned is what [Retention.Prune] did.
type Pruned struct {
	Builds int // removed
	Runs   int // Runs of several builds of which nothing is left
	// OnDelete are builds, at most n, that ended before the time and that nothing
	// else keeps than that their jobs have on_delete: that is executed on their
	// service, and then they are deleted one by one ([Builds.DeleteBuild]).
	OnDelete []int64
	More     bool // there is more to remove: call it again
}
