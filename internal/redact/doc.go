// Package redact replaces secrets in texts by "***".
//
// A [Redactor] is made from the values of secrets and does not change. It knows
// each value in these forms, and no others:
//
//   - as it is; of a value of several lines also each line of at least six characters;
//   - base64 (standard and URL alphabet) at all three alignments: the characters
//     that the value alone determines, so at most the last few bits at either end
//     of it stay;
//   - escaped for a URL's query or path, or as encodeURIComponent does, with
//     upper or lower case digits;
//   - escaped as in a JSON string, with or without the escapes of HTML and of
//     characters beyond ASCII;
//   - hexadecimal digits, all of upper or of lower case.
//
// Values of fewer than six characters, blanks at the edges not counted, are
// refused: they would be found by chance. A secret that is taken apart (the
// fields of a JSON document, every other character) is not recognised.
//
// All texts are searched in one pass, in time linear in their length whatever
// the number of secrets (Aho-Corasick). Occurrences that overlap or touch become
// one "***". A [Stream] finds secrets across the borders of chunks and holds
// back at most one byte less than the longest form.
package redact
