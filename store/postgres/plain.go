package postgres

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// createOp stores plain Runs; see plain. If one of the services is draining it
// writes nothing, and written stays false.
type createOp struct {
	many    []jobcontrol.NewRun
	written bool
	ids     []int64
	created []int64
	states  []jobcontrol.State
}

func (o *createOp) kind() kind { return kindCreate }
func (o *createOp) size() int  { return len(o.many) }

// alone leaves the operation to [Store.create], which finds out what is wrong.
func (o *createOp) alone(context.Context, *Store) error { return nil }

// answer makes what CreateRun returns.
func (o *createOp) answer(i int) (*jobcontrol.Run, *jobcontrol.Build) {
	n := &o.many[i]
	b := n.Builds[0].Make(n.Run.Project)
	b.ID, b.Run, b.State, b.CreatedAt = o.ids[i], o.ids[i], o.states[i], codec.TimeOf(o.created[i])
	b.Pins = n.Builds[0].Build.Pins
	return &jobcontrol.Run{
		ID: b.ID, Project: b.Project, Verb: n.Run.Verb, Targets: []string{b.Job}, State: jobcontrol.RunRunning, NoCleanup: n.Run.NoCleanup,
		By: n.Run.By, File: n.Run.File, CreatedAt: b.CreatedAt, Counts: jobcontrol.Counts{b.State: 1}, Lone: true,
	}, &b
}

// prepare finds the ids of what the new builds refer to.
func (w *writer) prepare(c *conn, creates []*createOp) (*needs, error) {
	if len(creates) == 0 {
		return nil, nil
	}
	n := newNeeds()
	for _, o := range creates {
		for i := range o.many {
			n.add(&o.many[i])
		}
	}
	return n, w.s.learn(c, n)
}

// newPlain is a row that was written by insertPlain.
type newPlain struct {
	id, head, created int64
	state             jobcontrol.State
}

// queueCreate queues the statement that stores the builds, with their heads or
// without; its rows go to found.
func queueCreate(c *conn, creates []*createOp, n *needs, found *[]newPlain, heads bool) {
	size := 0
	for _, o := range creates {
		size += len(o.many)
	}
	r := newRows(size)
	services := map[int64]bool{}
	for _, o := range creates {
		for i := range o.many {
			in := &o.many[i]
			b := in.Builds[0].Make(in.Run.Project)
			b.Pins = in.Builds[0].Build.Pins
			if in.Builds[0].Build.State == jobcontrol.Held {
				b.State = jobcontrol.Held
			}
			service := n.services[jobKey{b.Project, serviceOf(b.Service)}]
			services[service] = true
			r.add(&b, n.heads[jobKey{b.Project, b.Job}], service, n.origins[originOf(&in.Run)], n.definitions[b.Definition])
		}
	}
	ids := make([]int64, 0, len(services))
	for id := range services {
		ids = append(ids, id)
	}
	*found = make([]newPlain, 0, size)
	add := func(r *row) error {
		*found = append(*found, newPlain{r.int(), r.int(), r.int(), r.state()})
		return nil
	}
	args := append(r.arguments(), ids)
	if !heads {
		c.queue(add, insertAccepted, args...)
		return
	}
	lockInOrder(c, "heads", slices.Collect(maps.Values(n.heads)))
	c.queue(add, insertPlain, append(args, len(n.heads))...)
}

// created gives the operations their answers. Rows get their ids in order.
func created(creates []*createOp, found []newPlain) (told news) {
	if len(found) == 0 {
		return told
	}
	slices.SortFunc(found, func(a, b newPlain) int { return cmp.Compare(a.id, b.id) })
	for _, o := range creates {
		o.written = true
		o.ids, o.created, o.states = make([]int64, len(o.many)), make([]int64, len(o.many)), make([]jobcontrol.State, len(o.many))
		for i := range o.many {
			o.ids[i], o.created[i], o.states[i] = found[i].id, found[i].created, found[i].state
			told.ready = told.ready || found[i].state == jobcontrol.Queued
			told.scheduled = told.scheduled || found[i].state == jobcontrol.Scheduled
		}
		found = found[len(o.many):]
	}
	return told
}

// onlyCreate stores builds in a transaction that is a single round trip.
func (w *writer) onlyCreate(c *conn, creates []*createOp, n *needs) (sent bool, told news, err error) {
	var found []newPlain
	c.queue(nil, begin)
	queueCreate(c, creates, n, &found, true)
	if err := c.send(); err != nil {
		return codeOf(err) == "" || disconnected(err), told, err
	}
	return true, created(creates, found), nil
}

// createPlain stores builds as a part of a transaction, which locks heads at its end.
func (t *tx) createPlain(creates []*createOp, n *needs) error {
	var found []newPlain
	queueCreate(t.conn, creates, n, &found, false)
	if err := t.send(); err != nil {
		return err
	}
	for _, v := range found {
		t.headNew(v.head, v.id)
	}
	t.news.add(created(creates, found))
	return nil
}
