package worker

import (
	"cmp"
	"slices"

	"github.com/jobcontrol/jobcontrol"
)

// findEarly finds the builds that have dependants which may be prepared.
func (f *foreground) findEarly() {
	if _, able := f.c.cfg.Executor.(jobcontrol.Preparer); !able {
		return
	}
	for _, m := range f.builds {
		m.early = slices.ContainsFunc(m.build.Dependants, func(id int64) bool { return f.builds[id] != nil && f.builds[id].preparable() })
	}
}

// preparable tells whether an attempt of the build can be prepared: a shell
// executes its first phase, and its start need not be durable before.
func (m *member) preparable() bool {
	first := m.job.Check
	if first == nil {
		first = m.job.Run
	}
	return first != nil && first.Shell != "" && m.job.ForEach == nil && m.build.Lost == 0 && m.job.OnLost != "fail"
}

// prepare chooses the attempts that are prepared since they will be due when the
// end of m's is durable, as many as will then find a slot: most of what starting
// a command takes is done before. Nothing of them is executed. The first one is
// for the caller, others are given to the crew.
func (f *foreground) prepare(m *member) (first *order) {
	slots := f.c.cfg.Parallel - f.active - len(f.due) - f.gated
	if !m.free {
		slots++
	}
	if f.stopping || f.alone || slots <= 0 {
		return nil
	}
	for _, id := range m.build.Dependants {
		d := f.builds[id]
		if d != nil && d.missing == 1 && d.build.State == jobcontrol.Waiting && d.preparable() {
			m.heirs = append(m.heirs, d)
		}
	}
	if len(m.heirs) > slots {
		slices.SortFunc(m.heirs, func(a, b *member) int { return cmp.Or(a.build.Phase-b.build.Phase, a.build.Place-b.build.Place) })
		m.heirs = m.heirs[:slots]
	}
	for i, d := range m.heirs {
		d.gate = make(chan bool, 1)
		f.gated++
		o := order{d, d.build.Attempts + 1, d.gate}
		if i == 0 {
			first = &o
		} else {
			f.employ(o)
		}
	}
	return first
}

// open lets the attempt go on that is being prepared for m, or not.
func (f *foreground) open(m *member, start bool) {
	if !start {
		f.discarding.Add(1)
	}
	m.gate <- start
	m.gate = nil
	f.gated--
}

// discard discards what was prepared for the end of m's attempt and was not
// started by it.
func (f *foreground) discard(m *member) {
	for _, d := range m.heirs {
		if d.gate != nil {
			f.open(d, false)
		}
	}
	m.heirs = nil
}
