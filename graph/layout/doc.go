// Package layout draws dependency graphs: SVG, PNG, DOT, Mermaid, JSON and text.
//
// The drawing is layered (Sugiyama, Tagawa and Toda 1981), from left to right: a
// node stands in a column to the right of everything it depends on, edges lead from
// a dependency to what depends on it. [Place] works in these steps, each linear or
// nearly so in nodes and edges, none recursive:
//
//  1. Every connected component is placed by itself.
//  2. Columns: the longest path from a node without dependencies; nodes that
//     more depends on than they depend on move as far to the right as they can.
//  3. Edges over several columns get a bend in each column between (not when there
//     would be more than [MaxBends]: then they are drawn straight).
//  4. Order within the columns: sweeps that put each node at the mean of its
//     neighbours in the column before; the order with the fewest crossings is kept.
//  5. Heights: each column in turn as near to its neighbours as order and
//     distances allow, the least squares by pooling adjacent violators.
//  6. Components are packed in rows, so that the whole is about as wide as a screen.
//
// The same graph gives the same drawing, byte for byte. Labels, tooltips and links
// are text: nothing in them is taken for markup.
package layout
