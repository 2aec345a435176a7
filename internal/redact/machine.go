package redact

// A machine finds all occurrences of its patterns in one pass (Aho-Corasick).
// Node 0 is the root. It does not change.
type machine struct {
	nodes []node
	first [256]int32 // children of the root
}

type node struct {
	child, sibling int32 // 0: none
	fail           int32 // the longest proper suffix that is a prefix of a pattern
	longest        int32 // length of the longest pattern that ends here; 0: none
	hold           int32 // how many of the last bytes may begin a pattern that is not complete
	b              byte
}

func newMachine(patterns []string) *machine {
	m := &machine{nodes: make([]node, 1)}
	for _, p := range patterns {
		at := int32(0)
		for i := range len(p) {
			at = m.add(at, p[i])
		}
		m.nodes[at].longest = int32(len(p))
	}
	m.link()
	return m
}

// add returns the child of a node for a byte, and makes it if there is none.
func (m *machine) add(at int32, b byte) int32 {
	if c := m.child(at, b); c != 0 {
		return c
	}
	c := int32(len(m.nodes))
	m.nodes = append(m.nodes, node{b: b, sibling: m.nodes[at].child})
	m.nodes[at].child = c
	if at == 0 {
		m.first[b] = c
	}
	return c
}

func (m *machine) child(at int32, b byte) int32 {
	if at == 0 {
		return m.first[b]
	}
	c := m.nodes[at].child
	for c != 0 && m.nodes[c].b != b {
		c = m.nodes[c].sibling
	}
	return c
}

// link sets what depends on the suffixes of each node, shorter ones first.
func (m *machine) link() {
	type visit struct{ at, depth int32 }
	queue := []visit{{0, 0}}
	for i := 0; i < len(queue); i++ {
		at, depth := queue[i].at, queue[i].depth
		n := &m.nodes[at]
		if at != 0 {
			n.longest = max(n.longest, m.nodes[n.fail].longest)
			if n.hold = depth; n.child == 0 {
				n.hold = m.nodes[n.fail].hold
			}
		}
		for c := n.child; c != 0; c = m.nodes[c].sibling {
			if at != 0 {
				m.nodes[c].fail = m.next(n.fail, m.nodes[c].b)
			}
			queue = append(queue, visit{c, depth + 1})
		}
	}
}

// next is where a byte leads to.
func (m *machine) next(at int32, b byte) int32 {
	for {
		if c := m.child(at, b); c != 0 || at == 0 {
			return c
		}
		at = m.nodes[at].fail
	}
}

// found tells whether a text has an occurrence.
func found[T string | []byte](m *machine, text T) bool {
	at := int32(0)
	for i := range len(text) {
		if at = m.next(at, text[i]); m.nodes[at].longest > 0 {
			return true
		}
	}
	return false
}

// A Stream redacts a text that comes in chunks. One goroutine may use it. A nil
// redactor has streams too.
type Stream struct {
	m       *machine
	at      int32
	held    []byte // the last bytes that were read and not yet written
	hits    []span // in held, ascending, not touching
	masking bool   // the last byte before held belongs to a hit, whose mask was written
}

// A span is held[from:to].
type span struct{ from, to int }

// Stream returns a new stream.
func (r *Redactor) Stream() *Stream {
	if r.none() {
		return &Stream{}
	}
	return &Stream{m: r.m}
}

// Write takes a chunk and returns what can be told of the text so far: the
// chunk itself where there are no secrets, else bytes that belong to the caller.
func (s *Stream) Write(p []byte) []byte {
	if s.m == nil {
		return p
	}
	s.held = append(s.held, p...)
	for i := len(s.held) - len(p); i < len(s.held); i++ {
		s.at = s.m.next(s.at, s.held[i])
		if n := int(s.m.nodes[s.at].longest); n > 0 {
			s.hit(i+1-n, i+1)
		}
	}
	return s.release(len(s.held) - int(s.m.nodes[s.at].hold))
}

// Flush returns the rest of the text; the stream can then be used for another one.
func (s *Stream) Flush() []byte {
	out := s.release(len(s.held))
	s.at, s.masking = 0, false
	return out
}

// hit notes an occurrence, which ends after all noted before. It may begin
// before held: then that part was masked already.
func (s *Stream) hit(from, to int) {
	from = max(from, 0)
	for n := len(s.hits); n > 0 && s.hits[n-1].to >= from; n-- {
		from = min(from, s.hits[n-1].from)
		s.hits = s.hits[:n-1]
	}
	s.hits = append(s.hits, span{from, to})
}

// release returns the first n held bytes, with masks for the hits.
func (s *Stream) release(n int) []byte {
	var out []byte
	done := 0
	rest := s.hits[:0]
	for _, h := range s.hits {
		if h.from >= n {
			rest = append(rest, span{h.from - n, h.to - n})
			continue
		}
		if h.from > done || !s.masking {
			out = append(append(out, s.held[done:h.from]...), Mask...)
		}
		done, s.masking = min(h.to, n), true
		if h.to > n {
			rest = append(rest, span{0, h.to - n})
		}
	}
	if done < n {
		out, s.masking = append(out, s.held[done:n]...), false
	}
	s.hits = rest
	s.held = s.held[:copy(s.held, s.held[n:])]
	return out
}
