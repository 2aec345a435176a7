//go:build linux

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// staleTTL is the lease of workers that lose it here.
const staleTTL = 200 * time.Millisecond

// writeStale lets workers of the harness lose their claims in every way and then
// write everything that can be written under a claim, until at least n writes
// were tried. It is beside the processes: their service is another one. Each
// write goes to the store: what stands before it in a worker does not help here.
func writeStale(n int) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		for round := 0; t.figures["stale writes tried directly"] < n; round++ {
			z := &zombie{t: t, store: t.store, way: staleWays[round%len(staleWays)]}
			if err := z.play(ctx); err != nil {
				return fmt.Errorf("stale writes, way %q: %w", z.way, err)
			}
		}
		return nil
	}
}

// staleWays are how a claim is lost: its worker's lease ended and it was rescued
// before or after the attempt was marked, also taken up again by another worker,
// also finished by it; or the worker gave it up itself.
var staleWays = []string{"expired", "rescued", "rescued running", "claimed again", "running again", "finished again", "given back", "retried"}

// zombie is a worker that has lost its claims.
type zombie struct {
	t      *trial
	store  jobcontrol.Store
	way    string
	lease  jobcontrol.Lease
	builds []jobcontrol.Build
}

// staleService is where only the harness works.
const staleService = "stale"

// staleBuilds is how many builds lose their claim in a round.
const staleBuilds = 6

func (z *zombie) play(ctx context.Context) error {
	if err := z.enqueue(ctx); err != nil {
		return err
	}
	ttl := staleTTL
	if z.way == "given back" || z.way == "retried" {
		ttl = time.Minute
	}
	var err error
	if z.lease, err = z.store.Register(ctx, jobcontrol.Process{Host: "zombie"}, ttl); err != nil {
		return err
	}
	if z.builds, err = claimAll(ctx, z.store, z.lease, staleBuilds); err != nil {
		return err
	}
	if err := z.lose(ctx); err != nil {
		return err
	}
	before, err := z.snapshot(ctx)
	if err != nil {
		return err
	}
	for i := range z.builds {
		z.write(ctx, &z.builds[i])
	}
	after, err := z.snapshot(ctx)
	if err != nil {
		return err
	}
	if before != after {
		return fmt.Errorf("stale writes changed something:\n%s\n%s", before, after)
	}
	return z.finish(ctx)
}

// enqueue makes Runs of two builds, of which the second depends on the first.
func (z *zombie) enqueue(ctx context.Context) error {
	c, err := newClient(z.store, z.t.journal, fmt.Sprintf("stale%d", z.t.figures["stale writes tried directly"]), z.t.seed, Load{})
	if err != nil {
		return err
	}
	for range staleBuilds {
		n, err := c.make(ctx, request{verb: jobcontrol.VerbRun, job: "chain1", do: ""})
		if err != nil {
			return err
		}
		for i := range n.Builds {
			n.Builds[i].Build.Service = staleService
		}
		if _, _, err := z.store.CreateRun(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// claimAll claims n builds, suspects one by one.
func claimAll(ctx context.Context, store jobcontrol.Store, l jobcontrol.Lease, n int) ([]jobcontrol.Build, error) {
	var out []jobcontrol.Build
	for deadline := time.Now().Add(10 * time.Second); len(out) < n; {
		got, err := store.Claim(ctx, l, jobcontrol.Wanted{Services: []string{staleService}, N: n - len(out), Alone: true})
		if err != nil {
			return nil, err
		}
		if out = append(out, got.Builds...); len(got.Builds) == 0 {
			if time.Now().After(deadline) {
				return nil, fmt.Errorf("%d of %d builds can be claimed", len(out), n)
			}
			if _, _, err := store.Promote(ctx, n); err != nil {
				return nil, err
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return out, nil
}

// start marks builds as running.
func start(ctx context.Context, store jobcontrol.Store, builds []jobcontrol.Build) error {
	for i := range builds {
		if builds[i].State == jobcontrol.Running {
			continue
		}
		now, err := store.Now(ctx)
		if err != nil {
			return err
		}
		if err := store.Start(ctx, []jobcontrol.Claim{builds[i].Claim}, []time.Time{now}); err != nil {
			return err
		}
	}
	return nil
}

// lose makes the claims stale.
func (z *zombie) lose(ctx context.Context) error {
	switch z.way {
	case "given back":
		return z.store.GiveBack(ctx, claimsOf(z.builds))
	case "retried":
		for i := range z.builds {
			if _, err := z.store.Retry(ctx, z.builds[i].Claim, endOf(&z.builds[i], jobcontrol.Queued, errors.New("as told"))); err != nil {
				return err
			}
		}
	case "rescued running", "running again":
		if err := start(ctx, z.store, z.builds); err != nil {
			return err
		}
	}
	if z.way != "retried" {
		if err := z.expire(ctx); err != nil {
			return err
		}
	}
	switch z.way {
	case "expired", "rescued", "rescued running", "given back":
		return nil
	}
	return z.inherit(ctx)
}

// inherit lets another worker take the builds up.
func (z *zombie) inherit(ctx context.Context) error {
	l, err := z.store.Register(ctx, jobcontrol.Process{Host: "heir"}, time.Minute)
	if err != nil {
		return err
	}
	heirs, err := claimAll(ctx, z.store, l, staleBuilds)
	if err != nil {
		return err
	}
	if z.way != "claimed again" {
		if err := start(ctx, z.store, heirs); err != nil {
			return err
		}
	}
	for i := range heirs {
		b := &heirs[i]
		if z.way == "finished again" {
			if _, err := z.store.Finish(ctx, b.Claim, endOf(b, jobcontrol.Successful, nil)); err != nil {
				return err
			}
		}
	}
	return nil
}

// expire waits until the lease has ended, and rescues what it held, but where the
// way says that nobody did yet.
func (z *zombie) expire(ctx context.Context) error {
	time.Sleep(staleTTL + 20*time.Millisecond) // by the store's clock, which nobody can wait for
	if z.way == "expired" {
		return nil
	}
	_, err := z.store.Rescue(ctx, func(p jobcontrol.Process) (alive, known bool) {
		return p.Host != "zombie", p.Host != "zombie"
	})
	return err
}

func claimsOf(builds []jobcontrol.Build) []jobcontrol.Claim {
	var out []jobcontrol.Claim
	for i := range builds {
		out = append(out, builds[i].Claim)
	}
	return out
}

// endOf is how an attempt of the harness ends.
func endOf(b *jobcontrol.Build, s jobcontrol.State, err error) jobcontrol.Ended {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return jobcontrol.Ended{
		Attempt: jobcontrol.Attempt{
			Build: b.ID, Number: b.Attempts + 1, StartedAt: now, FinishedAt: now, Worker: b.Claim.Worker, Claim: b.Claim.Number,
			Failure: jobcontrol.FailureOf(err, jobcontrol.PhaseRun),
		},
		State: s, Changed: true, Result: json.RawMessage(fmt.Sprintf(`{"heir":%d}`, b.Claim.Number)), ReadyAt: now,
	}
}

// write tries everything that can be written under a claim; all of it must be
// refused.
func (z *zombie) write(ctx context.Context, b *jobcontrol.Build) {
	tries := z.writes(ctx, b)
	for _, name := range slices.Sorted(maps.Keys(tries)) {
		z.t.figures["stale writes tried directly"]++
		if err := tries[name](); !errors.Is(err, jobcontrol.ErrLeaseLost) {
			z.t.figures["stale writes accepted"]++
			z.t.found = append(z.t.found, Violation{
				Rule: "stale", Run: b.Run, Build: b.ID,
				Text: fmt.Sprintf("%s by a worker whose claim was lost (%s) was answered: %v", name, z.way, err),
			})
		}
	}
}

// writes are the writes that must be refused. An expired lease that nobody took
// away may still be used, but for claiming: the next rescue decides. A worker
// that gave up a claim itself still has its lease.
func (z *zombie) writes(ctx context.Context, b *jobcontrol.Build) map[string]func() error {
	w := jobcontrol.Wanted{Services: []string{staleService}, N: 1}
	tries := map[string]func() error{}
	leased := z.way == "given back" || z.way == "retried"
	if !leased {
		tries["claim"] = func() error { _, err := z.store.Claim(ctx, z.lease, w); return err }
		tries["claim a clean-up step"] = func() error { _, err := z.store.ClaimCleanup(ctx, z.lease, w); return err }
	}
	if z.way == "expired" {
		return tries
	}
	if !leased {
		tries["renew"] = func() error { return z.store.Renew(ctx, z.lease, time.Minute) }
	}
	maps.Copy(tries, z.reports(ctx, b))
	maps.Copy(tries, z.ends(ctx, b))
	return tries
}

// reports are writes during an attempt.
func (z *zombie) reports(ctx context.Context, b *jobcontrol.Build) map[string]func() error {
	now := time.Now().UTC().Truncate(time.Microsecond)
	record := []jobcontrol.LogRecord{{Time: now, Level: jobcontrol.LevelInfo, Message: "stale"}}
	return map[string]func() error{
		"start":    func() error { return z.store.Start(ctx, []jobcontrol.Claim{b.Claim}, []time.Time{now}) },
		"ran":      func() error { return z.store.MarkRan(ctx, b.Claim, now) },
		"log":      func() error { return z.store.Report(ctx, b.Claim, record, nil) },
		"progress": func() error { return z.store.Report(ctx, b.Claim, nil, []jobcontrol.Progress{{Status: "stale"}}) },
		"shared": func() error {
			_, err := z.store.SharedSet(ctx, b.Claim, "stale", json.RawMessage(`1`), -1)
			return err
		},
	}
}

// ends are writes that end an attempt.
func (z *zombie) ends(ctx context.Context, b *jobcontrol.Build) map[string]func() error {
	finish := func(s jobcontrol.State, why error) func() error {
		return func() error { _, err := z.store.Finish(ctx, b.Claim, endOf(b, s, why)); return err }
	}
	out := map[string]func() error{
		"finish": finish(jobcontrol.Successful, nil),
		"fail":   finish(jobcontrol.Failed, errors.New("stale")),
		"cleaned": func() error {
			e := endOf(b, jobcontrol.Successful, nil)
			e.Attempt.Cleanup = true
			return z.store.Cleaned(ctx, b.Claim, e)
		},
		"cancel": func() error { return z.store.Cancel(ctx, []jobcontrol.Claim{b.Claim}, "stale") },
		"give back": func() error {
			// It is passed over without an error.
			if err := z.store.GiveBack(ctx, []jobcontrol.Claim{b.Claim}); err != nil {
				return err
			}
			return jobcontrol.ErrLeaseLost
		},
	}
	if z.way != "retried" { // the same once more is a repetition
		out["retry"] = func() error {
			_, err := z.store.Retry(ctx, b.Claim, endOf(b, jobcontrol.Queued, errors.New("stale")))
			return err
		}
		out["expand"] = func() error {
			e := endOf(b, jobcontrol.Waiting, nil)
			e.Expansion = &jobcontrol.Expansion{Pins: map[string]int64{jobcontrol.ItemJob(b.Job, "stale"): b.ID}}
			_, err := z.store.Expand(ctx, b.Claim, e)
			return err
		}
	}
	return out
}

// snapshot is everything that stale writes could change, as text.
func (z *zombie) snapshot(ctx context.Context) (string, error) {
	out := ""
	for i := range z.builds {
		run := z.builds[i].Run
		r, err := z.store.Run(ctx, run)
		if err != nil {
			return "", err
		}
		builds, err := z.store.ListBuilds(ctx, jobcontrol.BuildFilter{Run: run, Limit: -1, Asc: true})
		if err != nil {
			return "", err
		}
		keys, err := z.store.SharedKeys(ctx, run)
		if err != nil {
			return "", err
		}
		out += fmt.Sprintf("run %d %s %v %v\n", r.ID, r.State, r.Counts, keys)
		for k := range builds {
			attempts, err := z.store.Attempts(ctx, builds[k].ID)
			if err != nil {
				return "", err
			}
			progress, err := z.store.Progress(ctx, builds[k].ID)
			if err != nil {
				return "", err
			}
			logs := 0
			err = z.store.Log(ctx, builds[k].ID, jobcontrol.LogFilter{}, func(jobcontrol.LogRecord) bool { logs++; return true })
			if err != nil {
				return "", err
			}
			text, err := json.Marshal(&builds[k])
			if err != nil {
				return "", err
			}
			out += fmt.Sprintf(" %s claim %v ran %d cleaned %v, %d attempts, %d records, progress %d\n",
				text, builds[k].Claim, builds[k].Ran, builds[k].Cleaned, len(attempts), logs, len(progress))
		}
	}
	return out, nil
}

// finish cancels what the round left, so that the drain has nothing to do.
func (z *zombie) finish(ctx context.Context) error {
	for i := range z.builds {
		if _, err := z.store.RequestCancel(ctx, z.builds[i].Run); err != nil && !errors.Is(err, jobcontrol.ErrConflict) {
			return err
		}
	}
	// Nobody obeys the requests: workers that are gone do.
	_, err := z.store.Rescue(ctx, func(jobcontrol.Process) (alive, known bool) { return false, true })
	return err
}
