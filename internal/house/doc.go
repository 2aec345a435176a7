// Package house holds the rules of the house as tests: who may import whom, which library is used where, and how
// packages, files and exported names are documented and named. It has no code that a program could use.
//
// The tables, in tables_test.go, are the place to look at and to change when a package or a library comes or goes.
// Each rule in rules_test.go says what it found, where, and how to mend it; house_test.go also holds that each rule
// notices what it is there for.
package house
