package jobcontrol

import (
	"strings"
)

// Progress is one report of how far a build is, for one path of its tree. Nil
// Current or Total: not said, then the sum over the children counts.
type Progress struct {
	Path    []string `json:"path"` // empty: the whole build
	Current *int64   `json:"current,omitempty"`
	Total   *int64   `json:"total,omitempty"`
	Status  string   `json:"status,omitempty"`
}

// MaxProgressDepth is the deepest path of a progress report; the rest of a
// deeper one is joined into its last name. MaxProgressRows is how many paths a
// build may have; further ones are dropped.
const (
	MaxProgressDepth = 16
	MaxProgressRows  = 10000
)

// maxProgress is the largest number of a report, and of a sum of them: every reader of JSON knows it exactly.
const maxProgress = 1 << 53

// ProgressPath splits a name such as "download::file 1" at "::"; "" is the root.
func ProgressPath(name string) []string {
	if name == "" {
		return nil
	}
	return strings.Split(name, "::")
}

// ProgressNode is a node of the progress tree of a build.
type ProgressNode struct {
	Name     string          `json:"name"`
	Current  int64           `json:"current"`
	Total    int64           `json:"total"`
	Percent  float64         `json:"percent"` // 0 to 1; 0 where Total is 0
	Status   string          `json:"status,omitempty"`
	Children []*ProgressNode `json:"children,omitempty"`
}

// ProgressTree builds the tree of the reports, in order: a later report of a
// path replaces an earlier one; children stand in order of first appearance; a
// node's own current and total win, each by itself, over the sum of its
// children, which is at most 2⁵³. It returns nil when there is no report. The
// reports are as [ClampProgress] makes them. (JobControl 1b.)
func ProgressTree(reports []Progress) *ProgressNode {
	if len(reports) == 0 {
		return nil
	}
	root := newProgressNode("")
	for _, r := range reports {
		n := root
		for _, name := range r.Path {
			n = n.child(name)
		}
		n.report = r
	}
	return root.sum()
}

type progressNode struct {
	name     string
	report   Progress
	children []*progressNode
	index    map[string]*progressNode
}

func newProgressNode(name string) *progressNode { return &progressNode{name: name} }

func (n *progressNode) child(name string) *progressNode {
	if c, ok := n.index[name]; ok {
		return c
	}
	if n.index == nil {
		n.index = map[string]*progressNode{}
	}
	c := newProgressNode(name)
	n.index[name] = c
	n.children = append(n.children, c)
	return c
}

// sum recurses at most MaxProgressDepth deep: ClampProgress bounds every path.
func (n *progressNode) sum() *ProgressNode {
	out := &ProgressNode{Name: n.name, Status: n.report.Status}
	for _, c := range n.children {
		s := c.sum()
		out.Children = append(out.Children, s)
		out.Current = min(out.Current+s.Current, maxProgress)
		out.Total = min(out.Total+s.Total, maxProgress)
	}
	if n.report.Current != nil {
		out.Current = *n.report.Current
	}
	if n.report.Total != nil {
		out.Total = *n.report.Total
	}
	if out.Total > 0 {
		out.Percent = min(1, float64(out.Current)/float64(out.Total))
	}
	return out
}

// ClampProgress bounds a report: no negative number, current at most 2⁵³, a
// path of at most MaxProgressDepth names of 128 bytes, a status line of 1 KiB.
func ClampProgress(p Progress) Progress {
	clamp := func(v *int64) *int64 {
		if v == nil {
			return nil
		}
		c := min(max(*v, 0), maxProgress)
		return &c
	}
	p.Current, p.Total = clamp(p.Current), clamp(p.Total)
	if len(p.Path) > MaxProgressDepth {
		last := strings.Join(p.Path[MaxProgressDepth-1:], "::")
		p.Path = append(append([]string(nil), p.Path[:MaxProgressDepth-1]...), last)
	}
	for i, name := range p.Path {
		if len(name) > 128 {
			path := append([]string(nil), p.Path...)
			path[i] = trimUTF8(name, 128)
			p.Path = path
		}
	}
	p.Status = trimUTF8(strings.ToValidUTF8(p.Status, "\uFFFD"), 1024)
	return p
}

// trimUTF8 cuts s to at most n bytes at the border of a character.
func trimUTF8(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
