package jobcontrol

import "fmt"

// JobStatus is how a job stands, derived from its builds and those of its dependencies.
type JobStatus struct {
	Status           string   `json:"status"`                     // not_built, successful, failed or outdated
	Running          bool     `json:"running"`                    // a build is being executed
	Unfinished       int      `json:"unfinished,omitempty"`       // builds that are not final, running ones included
	Buildable        bool     `json:"buildable"`                  // every direct dependency has a successful build
	OutdatedBecause  []string `json:"outdated_because,omitempty"` // which dependency, which build, when
	OutdatedUpstream []string `json:"outdated_upstream,omitempty"`
	Missing          []string `json:"missing,omitempty"` // direct dependencies without a successful build
	Latest           int64    `json:"latest_build,omitempty"`
	LatestState      State    `json:"-"`
	Good             int64    `json:"latest_successful,omitempty"` // newest successful build, not skipped
}

// The statuses of a job.
const (
	StatusNotBuilt   = "not_built"
	StatusSuccessful = "successful"
	StatusFailed     = "failed"
	StatusOutdated   = "outdated"
)

// Statuses derives the status of every job of a set, in the order of the set.
//
// A job is outdated when a direct dependency has a successful build, changed and
// not skipped, newer than the one that the job's latest success used; where that
// recorded none, when it ended later than that success (JobControl's rule).
func Statuses(jobs *Jobs, heads map[string]Head) []JobStatus {
	out := make([]JobStatus, jobs.Len())
	g := jobs.Graph()
	for _, i := range g.PostOrder() {
		j := jobs.All()[i]
		s := statusOf(j, heads)
		seen := map[string]bool{}
		for _, d := range g.Dependencies(i) {
			ds := out[d]
			if ds.Status == StatusOutdated && !seen[g.ID(d)] {
				seen[g.ID(d)] = true
				s.OutdatedUpstream = append(s.OutdatedUpstream, g.ID(d))
			}
			for _, u := range ds.OutdatedUpstream {
				if !seen[u] && len(s.OutdatedUpstream) < 20 {
					seen[u] = true
					s.OutdatedUpstream = append(s.OutdatedUpstream, u)
				}
			}
		}
		out[i] = s
	}
	return out
}

func statusOf(j *Job, heads map[string]Head) JobStatus {
	h := heads[j.ID]
	s := JobStatus{
		Running: h.RunningBuilds > 0, Unfinished: h.Unfinished, Buildable: true,
		Latest: h.Latest, LatestState: h.LatestState, Good: h.Good,
	}
	for _, dep := range j.Dependencies {
		d := heads[dep]
		if d.Good == 0 {
			s.Buildable = false
			s.Missing = append(s.Missing, dep)
		}
		if why := newerThanUsed(h, dep, d); why != "" {
			s.OutdatedBecause = append(s.OutdatedBecause, why)
		}
	}
	switch {
	case h.LatestFinished == 0:
		s.Status = StatusNotBuilt
	case len(s.OutdatedBecause) > 0:
		s.Status = StatusOutdated
	case h.Good != 0:
		s.Status = StatusSuccessful
	default:
		s.Status = StatusFailed
	}
	return s
}

// newerThanUsed says why the job's latest success is outdated by a dependency, or "".
func newerThanUsed(h Head, dep string, d Head) string {
	if h.Good == 0 || d.GoodChanged == 0 {
		return ""
	}
	when := d.GoodChangedAt.Format("2006-01-02 15:04:05Z")
	if used := h.GoodPins[dep]; used > 0 {
		if d.GoodChanged > used {
			return fmt.Sprintf("%s #%d (%s) is newer than #%d, which #%d used", dep, d.GoodChanged, when, used, h.Good)
		}
		return ""
	}
	if d.GoodChangedAt.After(h.GoodAt) {
		return fmt.Sprintf("%s #%d (%s) ended after #%d", dep, d.GoodChanged, when, h.Good)
	}
	return ""
}
