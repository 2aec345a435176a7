// Package template renders Jinja2 text within limits, and tells for every
// rendered line which line of which file it came from.
//
// # Model
//
// [Render] takes a text with an empty context and returns the rendered text and
// a [Map] back to the source. Undefined variables are errors. include, import,
// from and extends read files below the text's own directory and nowhere else;
// no filter or function reaches the environment, the clock or the network.
//
// A template is a program, and a program may run away: `{% for %}` in `{% for %}`,
// a macro that calls itself, 'a' * 10**10. Within one process Go cannot stop that,
// since neither memory nor a stack that overflows can be taken back. So rendering
// happens in a child process of the same binary (see [Child]) that is killed at
// the limits. Where a program does not offer one, rendering happens in the process
// itself: time, output and the depth of calls are still limited, but not memory, nor the
// stack that a value needs which contains itself.
//
// # Limits
//
//	rendered text      64 MiB
//	time               5 s
//	memory of the child 512 MiB
//	macros, includes   200 and 50 calls deep
//	range()            1,000,000 numbers
//	nesting            200 brackets, 500 blocks
//
// Each is an [Error] that names the limit and, as far as it is known, the place.
//
// # Differences from Jinja2
//
// The language is that of gonja; the arithmetic, for, import and include are made
// strict as in Python here. What remains: a macro's argument without a default must
// be given; for takes one or two names; set takes one; numbers are 64 bits wide;
// none is printed as nothing; there is no self.
package template
