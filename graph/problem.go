package graph

import (
	"fmt"
	"strconv"
	"strings"
)

// Kind says what is wrong with a node or one of its dependencies.
type Kind uint8

// The kinds of problems.
const (
	// DuplicateID: Node was defined before, as node First.
	DuplicateID Kind = iota + 1
	// UnknownDependency: Dep is no node.
	UnknownDependency
	// SelfDependency: Node lists itself.
	SelfDependency
	// DuplicateDependency: Node lists Dep before, as entry First.
	DuplicateDependency
	// Cycle: Node needs itself by way of other nodes, as Path shows.
	Cycle
	// TooLarge: there are more nodes than an index can number.
	TooLarge
)

// String returns the kind in words, such as "unknown dependency".
func (k Kind) String() string {
	switch k {
	case DuplicateID:
		return "duplicate id"
	case UnknownDependency:
		return "unknown dependency"
	case SelfDependency:
		return "self-dependency"
	case DuplicateDependency:
		return "duplicate dependency"
	case Cycle:
		return "dependency cycle"
	case TooLarge:
		return "too many nodes"
	}
	return "problem " + strconv.Itoa(int(k))
}

// Problem is one fault in the input of [New]. Index and DepIndex lead to the
// place in the source that is to blame: entry DepIndex of the dependency list
// of node Index or, where DepIndex is -1, the node's id.
type Problem struct {
	Kind     Kind
	Index    int      // position of the node among the ids
	Node     string   // its id
	Dep      string   // the dependency as listed; of a cycle the one that leads into it
	DepIndex int      // its position in the node's list, -1 for a duplicate id
	First    int      // of a duplicate: the position of the earlier one, else -1
	Path     []string // of a cycle: a shortest way from Node back to it, both ends included
}

// Error tells the problem in one line. The path of a long cycle is abridged.
func (p Problem) Error() string {
	switch p.Kind {
	case DuplicateID:
		return fmt.Sprintf("duplicate id %q", p.Node)
	case UnknownDependency:
		return fmt.Sprintf("%q: unknown dependency %q", p.Node, p.Dep)
	case SelfDependency:
		return fmt.Sprintf("%q: depends on itself", p.Node)
	case DuplicateDependency:
		return fmt.Sprintf("%q: dependency %q is listed twice", p.Node, p.Dep)
	case Cycle:
		return "dependency cycle: " + arrows(p.Path)
	}
	return p.Kind.String()
}

// Problems is the error of [New]: every fault, first those of single nodes in
// the order of the nodes and of their lists, then the cycles in the order of
// their first nodes. It is never empty.
type Problems []Problem

// Error tells the first problems, one a line, and how many more there are.
func (ps Problems) Error() string {
	const most = 20
	var b strings.Builder
	for i, p := range ps {
		if i > 0 {
			b.WriteByte('\n')
		}
		if i == most {
			fmt.Fprintf(&b, "… and %d more", len(ps)-most)
			break
		}
		b.WriteString(p.Error())
	}
	return b.String()
}

// Unwrap returns the problems one by one, for errors.As with a [Problem].
func (ps Problems) Unwrap() []error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errs
}

// arrows joins the ids of a path, leaving out the middle of a long one.
func arrows(path []string) string {
	const head, tail = 12, 4
	quoted := make([]string, 0, head+1+tail)
	for i, id := range path {
		switch left := len(path) - i; {
		case i < head || left <= tail:
			quoted = append(quoted, strconv.Quote(id))
		case i == head:
			quoted = append(quoted, fmt.Sprintf("… %d more …", left-tail))
		}
	}
	return strings.Join(quoted, " → ")
}
