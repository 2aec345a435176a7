// Package crash kills the program at every fail point and looks what is left.
//
// Its tests need the build tag failpoints. They build the real program with it,
// find out which fail points one run of a small graph passes, and then, for each
// of them, run the graph in a fresh directory and end the program there with
// SIGKILL. After that must hold:
//
//   - every build whose end the program had told is in the store with that end
//     (P1: nothing acknowledged is lost);
//   - the next command says that the Run was interrupted, if it was;
//   - `runs resume` finishes it, each build ends exactly once (P2), a job whose
//     end was told is not executed again, and a job that can be checked is not
//     run again after its check passes (F11b);
//   - the clean-up step is executed, and not before everything else is done;
//   - the database passes its integrity check.
package crash
