//go:build linux

package chaos

import (
	"fmt"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// What an execution is told to do; the keyword argument "do".
const (
	doOK     = "ok"
	doFail   = "fail"   // each attempt fails
	doFlaky  = "flaky"  // the first attempt fails
	doRetry  = "retry"  // the first attempt asks to be tried again
	doSkip   = "skip"   //
	doPoison = "poison" // it kills its worker
	doBusy   = "busy"   // functions use the processor for that time
	doWait   = "wait"   // the first attempt waits for the file "go", whatever its context says
)

// want is how a build ends that is told to do so, if nobody cancels it.
var want = map[string]jobcontrol.State{
	doOK: jobcontrol.Successful, doFail: jobcontrol.Failed, doFlaky: jobcontrol.Successful, doRetry: jobcontrol.Successful,
	doSkip: jobcontrol.Skipped, doPoison: jobcontrol.Failed, doBusy: jobcontrol.Successful, doWait: jobcontrol.Successful,
}

const (
	chainLength = 6
	fanWidth    = 8
	cleanLength = 3
	poisonLost  = 2 // losses that the poison job allows

	// poisonStarts is how often a build may be begun that kills its worker: before
	// anybody knows that it was begun at all, until it is suspected, and then as
	// often as it may be lost, and once more.
	poisonStarts = 8
)

// jobSet returns the jobs of every cluster: each shape with functions and commands.
func jobSet() (*jobcontrol.Jobs, error) {
	l := &jobList{}
	l.add("go", 0)
	l.add("cmd", 1)
	for i := range chainLength {
		j := l.add(fmt.Sprintf("chain%d", i), i)
		if i > 0 {
			needs(j, fmt.Sprintf("chain%d", i-1))
		}
	}
	l.add("root", 0)
	join := l.add("join", 0)
	for i := range fanWidth {
		leaf := l.add(fmt.Sprintf("leaf%d", i), i)
		needs(leaf, "root")
		needs(join, leaf.ID)
	}
	needs(l.add("after", 0), l.add("before", 1).ID)
	for i := range cleanLength {
		j := l.add(fmt.Sprintf("clean%d", i), i)
		j.Cleanup = j.Run
		if i > 0 {
			needs(j, fmt.Sprintf("clean%d", i-1))
		}
	}
	converge := l.add("converge", 1)
	converge.Check = &jobcontrol.Task{Shell: checkScript}
	only := l.add("only", 0)
	only.Unique = []string{"kwargs.u"}
	only.Kwargs["u"] = ""
	l.addItems()
	lost := poisonLost
	for i, id := range []string{"poison-go", "poison-cmd"} {
		j := l.add(id, i)
		j.MaxLost = &lost
	}
	return jobcontrol.NewJobs(l.jobs)
}

type jobList struct{ jobs []*jobcontrol.Job }

// add makes a job: a function if kind is even, else a command.
func (l *jobList) add(id string, kind int) *jobcontrol.Job {
	delay := 10 * time.Millisecond
	j := &jobcontrol.Job{
		ID: id, Tries: 3, RetryDelay: &delay, Grace: 500 * time.Millisecond,
		Kwargs: map[string]any{"k": "", "do": doOK, "ms": int64(0)},
	}
	if kind%2 == 0 {
		j.Run = &jobcontrol.Task{Function: "chaos:work"}
	} else {
		j.Run = &jobcontrol.Task{Shell: workScript}
		j.ResultOut = "json"
	}
	l.jobs = append(l.jobs, j)
	return j
}

// needs makes j depend on a job and use its result: the fence under which that ended.
func needs(j *jobcontrol.Job, dependency string) {
	j.Dependencies = append(j.Dependencies, dependency)
	j.Kwargs["prev"] = jobcontrol.Retval{Job: dependency, Path: "fence"}
}

// workScript is what commands execute: the same as the function chaos:work. The
// lock is inherited by everything that the command starts.
const workScript = `
j() { printf '{"e":"%s","pid":%d,"build":%d,"run":%d,"job":"%s","attempt":%d,"fence":%d,"phase":"%s","key":"%s"%s}\n' \
	"$1" $$ "$JOBCONTROL_BUILD" "$JOBCONTROL_RUN" "$JOBCONTROL_JOB" "$JOBCONTROL_ATTEMPT" "$JOBCONTROL_FENCE" \
	"$JOBCONTROL_PHASE" "$JOBCONTROL_KWARG_K" "${2-}" >>"$CHAOS_DIR/journal"; }
exec 9>>"$CHAOS_DIR/locks/$JOBCONTROL_BUILD"
flock -n 9 || j overlap ',"what":"command"'
j start ",\"prev\":${JOBCONTROL_KWARG_PREV-0}"
echo "fence $JOBCONTROL_FENCE begins" >&2
if [ "$JOBCONTROL_PHASE" = run ]; then
	printf '{"progress":{"status":"fence %d"}}\n{"shared":{"set":"b%d","value":%d}}\n' "$JOBCONTROL_FENCE" "$JOBCONTROL_BUILD" "$JOBCONTROL_FENCE" >&3
fi
if [ "$JOBCONTROL_KWARG_MS" -gt 0 ]; then sleep "$(printf '%d.%03d' $((JOBCONTROL_KWARG_MS / 1000)) $((JOBCONTROL_KWARG_MS % 1000)))"; fi
if [ "$JOBCONTROL_PHASE" = run ]; then
	: >"$CHAOS_DIR/made/$JOBCONTROL_BUILD"
	case "$JOBCONTROL_KWARG_DO" in
	fail) j end; echo "as told" >&2; exit 3 ;;
	flaky) if [ "$JOBCONTROL_ATTEMPT" -lt 2 ]; then j end; rm "$CHAOS_DIR/made/$JOBCONTROL_BUILD"; exit 4; fi ;;
	retry) if [ "$JOBCONTROL_ATTEMPT" -lt 2 ]; then printf '{"retry":{"after":0.01}}\n' >&3; fi ;;
	skip) printf '{"skip":"as told"}\n' >&3 ;;
	poison) kill -9 $PPID; sleep 60 ;;
	esac
fi
echo "fence $JOBCONTROL_FENCE ends" >&2
j end
printf '{"fence":%d,"attempt":%d}' "$JOBCONTROL_FENCE" "$JOBCONTROL_ATTEMPT"
`

// checkScript passes when the run phase was executed.
const checkScript = `
test -e "$CHAOS_DIR/made/$JOBCONTROL_BUILD"
printf '{"result":{"fence":%d,"attempt":%d}}\n' "$JOBCONTROL_FENCE" "$JOBCONTROL_ATTEMPT" >&3
`
