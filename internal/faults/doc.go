// Package faults does to the program what files, jobs, disks and people do to it
// in the end, and counts what came of it. Its code is all tests.
//
// # Model
//
// A fault has a name (those of the catalogue are F7, F8 …), says what is done and
// what is wanted, and counts; a [*trial] has its directory, its random numbers and how
// much of it is to be done. What is wanted and did not happen is a violation.
// The program is this test binary, which is the whole command line when it is
// told so, with the functions that the faults need. Faults of workers, stores and
// connections that die are in package chaos; the power cut, the full disk and the
// disk that fails are taken from there.
//
// # Forms
//
// The tests do a hundredth of everything, and judge no time. `make faults` does all,
// judges times too, and prints one table:
//
//	go test -v -timeout 30m -run TestFaults ./internal/faults -faults.scale=1
//
// -faults.only=F22,disk selects, -faults.seed draws other ones.
package faults
