// Package graph is a pure, immutable dependency graph over string ids: which
// job needs which, in what order they go, what is ready, what is blocked.
// It knows nothing of jobs, builds or stores, and does no input or output.
//
// # Model
//
// A node has an id and an ordered list of dependencies, the nodes it needs.
// The nodes that need it are its dependants. "Down" leads to dependencies,
// "up" to dependants:
//
//	   watch            watch depends on tv and food
//	  /     \
//	tv      food        tv and food are dependencies of watch,
//	  \     /           watch is a dependant of both
//	   power
//
// Nodes are numbered from 0 in the order in which they were given to [New].
// Every method takes and returns these indexes as int32; [Graph.Index] and
// [Graph.ID] translate. "Node order" means ascending index.
//
// # Invariants
//
// A Graph only exists without faults: ids are unique, every dependency is a
// node, none is listed twice, no node depends on itself, there is no cycle.
// [New] finds all violations at once and returns them as [Problems], each with
// the position of the entry that is to blame.
//
// Every answer is deterministic: it follows from the order of the nodes and of
// their dependency lists alone.
//
// # Which order for what
//
//	PostOrder           the order of execution: depth first, dependencies from
//	                    left to right, a node after all that it needs. The
//	                    position in it is the node's place
//	LongestPathOrder    the deepest first, ties by id descending
//	DependenciesOf      everything below, in node order
//	DependantsOf        everything above, in node order
//	Component           everything connected, in node order
//	Counter             what becomes ready or blocked while nodes finish
//
// # Bad input
//
// Nothing panics on a bad argument. An index that is no node has no id, no
// dependencies and no dependants, and is left out wherever a list of nodes is
// expected. The zero Graph is empty and ready to use.
//
// # Cost and concurrency
//
// All algorithms are iterative: neither depth nor width is limited by a stack.
// V stands for the nodes and E for the dependencies of the graph; unless a
// method says otherwise it takes O(V+E) time and O(V) working memory. A graph
// holds about 8 bytes per dependency and, beside the ids and their index, 16 per
// node.
//
// A Graph never changes after New, so any number of goroutines may use it.
// A [Counter] changes and belongs to one goroutine.
package graph
