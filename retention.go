package jobcontrol

import (
	"context"
	"slices"
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
	//
	// Where n is 0 nothing is removed: Builds is how many would be, at most, and
	// OnDelete has them all.
	Prune(ctx context.Context, before time.Time, n int) (*Pruned, error)
	// PruneLogs removes log records of final builds. One call looks at the logs of
	// at most n builds, in the order of their ids. Of what is left the numbers
	// ([LogRecord.Seq]) may be others than before, in the same order.
	PruneLogs(ctx context.Context, p LogPruning, n int) (*PrunedLogs, error)
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

// LogRule selects the log records that are older than a time and of a level or
// below.
type LogRule struct {
	Before time.Time
	Level  Level // 0: any
}

// LogPruning says which log records [Retention.PruneLogs] removes: those that
// some rule selects.
type LogPruning struct {
	Rules   []LogRule
	Project string // of Job
	Job     string // only of this job; "": of all, of every project
	Build   int64  // only of this build; 0: of all
	After   int64  // only of builds with a larger id: [PrunedLogs.Next] of the call before
	DryRun  bool   // only count them
}

// PrunedLogs is what [Retention.PruneLogs] did.
type PrunedLogs struct {
	Records int64
	Bytes   int64 // that they took in the store
	Next    int64 // where the next call goes on; 0: there are no more builds
}

// RetentionPolicy says how long is kept what is over. The zero value keeps
// everything.
type RetentionPolicy struct {
	Builds time.Duration           // builds that ended longer ago are removed; 0: none
	Logs   map[Level]time.Duration // log records of a level or below that are older are removed; level 0: of any
}

// Empty tells whether the policy keeps everything.
func (p RetentionPolicy) Empty() bool { return p.Builds <= 0 && len(p.Logs) == 0 }

// Rules are the rules of the policy for log records, those of any level first.
func (p RetentionPolicy) Rules(now time.Time) []LogRule {
	rules := make([]LogRule, 0, len(p.Logs))
	for level, age := range p.Logs {
		rules = append(rules, LogRule{Before: now.Add(-age), Level: level})
	}
	slices.SortFunc(rules, func(a, b LogRule) int { return int(a.Level - b.Level) })
	return rules
}

// DefaultLogAges are the ages of log records that hold where nobody gives others:
// what is unimportant goes first, and after a year everything. They are JobControl's.
func DefaultLogAges() map[Level]time.Duration {
	const day, month = 24 * time.Hour, 2629800 * time.Second // a year is 12 months of 30.4375 days
	return map[Level]time.Duration{
		0: 12 * month, LevelDebug: 15 * day, LevelInfo: month, LevelWarning: 3 * month, LevelError: 6 * month, LevelCritical: 6 * month,
	}
}
