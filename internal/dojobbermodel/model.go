// Package dojobbermodel is DoJobber's algorithm, transcribed as naively as
// possible: recursive, single-threaded, without delays. It is an oracle for
// tests. Nothing in it is shared with the graph or the engine, so agreement
// with them means something.
//
// The whole graph is visited once per phase, depth first, dependencies from
// left to right. A node whose dependencies are all true is attempted, at most
// once in a phase and while it has tries left. Phases go on while something
// that failed has tries left.
package dojobbermodel

import (
	"errors"
	"fmt"
	"slices"
)

// Kind is what a node can do.
type Kind int

// The kinds of nodes.
const (
	Job     Kind = iota // check, and if that fails run and check again
	RunOnly             // run; its check always fails, its recheck repeats the run's error
	Dummy               // nothing: it passes when its dependencies have
)

// Node is one job with its dependencies in order.
type Node struct {
	ID    string
	Deps  []string
	Kind  Kind
	Tries int // attempts in all; 0 means the default
}

// Step is a part of an attempt.
type Step string

// The steps of an attempt.
const (
	Check   Step = "check"
	Run     Step = "run"
	Recheck Step = "recheck"
)

// Status of a node.
type Status int

// The statuses. Untested is a node that was blocked all the time.
const (
	Untested Status = iota
	True
	False
)

// String returns "null", "true" or "false".
func (s Status) String() string { return [...]string{"null", "true", "false"}[s] }

// Input is what to execute.
type Input struct {
	Nodes        []Node
	Targets      []string // visited in this order in each phase; none: the first node
	DefaultTries int      // 0 means 3
	NoAct        bool     // only the first check of each node, one phase

	// Outcome is asked for each step that is executed; attempt counts from 1.
	// A nil error passes, and so does everything if Outcome is nil. It is not
	// asked about dummies, nor about the check and recheck of a run-only node.
	Outcome func(node string, attempt int, step Step) error
}

// Result is what happened. Its maps have the nodes at and below the targets.
type Result struct {
	Events    []string // the output lines, such as `A.recheck: fail "no"`
	PhaseOf   []int    // the phase of each event, from 0
	Phases    int      // how many there were
	Success   bool     // every node is true
	Status    map[string]Status
	TriesLeft map[string]int
	Errors    map[string]error // the last error of each node that was not true after an attempt
}

// Execute runs the algorithm to its end. An error means that the input is not
// a graph: unknown or duplicate ids, a cycle, negative tries.
func Execute(in Input) (*Result, error) {
	m := &model{
		in:    in,
		nodes: map[string]Node{},
		tried: map[string]int{},
		seen:  map[string]int{},
		res: &Result{
			Status:    map[string]Status{},
			TriesLeft: map[string]int{},
			Errors:    map[string]error{},
		},
	}
	if err := m.configure(); err != nil {
		return nil, err
	}
	m.loop()
	return m.res, nil
}

// model is one execution.
type model struct {
	in    Input
	nodes map[string]Node
	order []string       // post-order of the targets
	phase int            // current phase
	tried map[string]int // phase of the node's last attempt, plus 1
	seen  map[string]int // phase of its last visit, plus 1
	res   *Result
}

// configure fills nodes, order and the tries.
func (m *model) configure() error {
	for _, n := range m.in.Nodes {
		if _, ok := m.nodes[n.ID]; ok {
			return fmt.Errorf("duplicate node %q", n.ID)
		}
		m.nodes[n.ID] = n
	}
	if len(m.in.Targets) == 0 && len(m.in.Nodes) > 0 {
		m.in.Targets = []string{m.in.Nodes[0].ID}
	}
	if m.in.DefaultTries == 0 {
		m.in.DefaultTries = 3
	}
	for _, t := range m.in.Targets {
		if err := m.collect(t, nil); err != nil {
			return err
		}
	}
	for _, id := range m.order {
		tries := m.nodes[id].Tries
		if tries == 0 {
			tries = m.in.DefaultTries
		}
		if tries < 1 {
			//lint:ignore ST1005 DoJobber's text
			return fmt.Errorf("TRIES \"%d\" must be >= 1.", tries)
		}
		m.res.TriesLeft[id] = tries
		m.res.Status[id] = Untested
	}
	return nil
}

// collect appends what is below id, then id, to the order. trail is the way
// from the target to id.
func (m *model) collect(id string, trail []string) error {
	if slices.Contains(trail, id) {
		return fmt.Errorf("graph contains cycles: %q", append(trail, id))
	}
	if slices.Contains(m.order, id) {
		return nil
	}
	n, ok := m.nodes[id]
	if !ok {
		return fmt.Errorf("unknown node %q", id)
	}
	for _, d := range n.Deps {
		if err := m.collect(d, append(slices.Clone(trail), id)); err != nil {
			return err
		}
	}
	m.order = append(m.order, id)
	return nil
}

// loop visits the whole graph, phase after phase.
func (m *model) loop() {
	for {
		for _, t := range m.in.Targets {
			m.visit(t)
		}
		m.phase++
		m.res.Phases = m.phase
		if m.finished() || m.in.NoAct {
			return
		}
	}
}

// finished reports whether all nodes are true, and notes it, or nothing that
// failed can be tried again.
func (m *model) finished() bool {
	m.res.Success = len(m.order) > 0
	again := false
	for _, id := range m.order {
		m.res.Success = m.res.Success && m.res.Status[id] == True
		again = again || m.res.Status[id] == False && m.res.TriesLeft[id] > 0
	}
	return m.res.Success || !again
}

// visit visits what id depends on and is not yet true, then attempts id if all
// of it is true. A second visit in a phase has no effect and is cut short.
func (m *model) visit(id string) {
	if m.res.Status[id] == True || m.seen[id] == m.phase+1 {
		return
	}
	m.seen[id] = m.phase + 1
	ready := true
	for _, d := range m.nodes[id].Deps {
		m.visit(d)
		ready = ready && m.res.Status[d] == True
	}
	if ready && m.tried[id] != m.phase+1 && m.res.TriesLeft[id] > 0 {
		m.attempt(id)
	}
}

// attempt does check, run and recheck as the truth table says.
func (m *model) attempt(id string) {
	n := m.nodes[id]
	tries := n.Tries
	if tries == 0 {
		tries = m.in.DefaultTries
	}
	m.tried[id] = m.phase + 1
	number := tries - m.res.TriesLeft[id] + 1
	m.res.TriesLeft[id]--

	err := m.step(n, number, Check)
	if err == nil {
		m.line(id, "check: pass")
		m.settle(id, nil)
		return
	}
	m.line(id, "check: fail")
	if m.in.NoAct {
		m.settle(id, err)
		return
	}
	runErr := m.step(n, number, Run)
	if runErr == nil {
		m.line(id, "run: pass")
	} else {
		m.line(id, "run: fail")
	}
	err = runErr
	if n.Kind != RunOnly {
		err = m.step(n, number, Recheck)
	}
	if err == nil {
		m.line(id, "recheck: pass")
	} else {
		m.line(id, fmt.Sprintf("recheck: fail \"%v\"", err))
	}
	m.settle(id, err)
}

// errFirst is why a run-only node is always run.
//
//lint:ignore ST1005 DoJobber's text
var errFirst = errors.New("Runonly node check intentionally fails first time.")

// step executes one step of a node.
func (m *model) step(n Node, attempt int, s Step) error {
	switch {
	case n.Kind == Dummy:
		return nil
	case n.Kind == RunOnly && s == Check:
		return errFirst
	case m.in.Outcome == nil:
		return nil
	}
	return m.in.Outcome(n.ID, attempt, s)
}

// settle stores how an attempt ended.
func (m *model) settle(id string, err error) {
	if err == nil {
		m.res.Status[id] = True
		delete(m.res.Errors, id)
		return
	}
	m.res.Status[id] = False
	m.res.Errors[id] = err
}

// line adds an output line.
func (m *model) line(id, text string) {
	m.res.Events = append(m.res.Events, id+"."+text)
	m.res.PhaseOf = append(m.res.PhaseOf, m.phase)
}
