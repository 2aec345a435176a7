// Package pgtest gives tests a PostgreSQL server of their own, from the binaries
// of the machine. A test package has one [Server] for all of its tests:
//
//	var server pgtest.Server
//
//	func TestMain(m *testing.M) { os.Exit(server.Main(m)) }
//
//	func TestX(t *testing.T) {
//		_, url := server.Database(t) // a new, empty database
//		…
//	}
//
// # Model
//
// A [Cluster] is a data directory below the temporary directory and the server
// that works on it, which listens on a socket in that directory and on a port of
// 127.0.0.1. Everybody who can enter the directory, its owner, may be anybody in
// the database; the port asks for a password. Root runs it as the user postgres,
// whom Debian's package makes, since PostgreSQL refuses root.
//
// # Invariants
//
//   - A server never outlives the process that started it, however that ends: the
//     kernel stops it then (Linux). Directories that a killed process left behind
//     are removed by the next one: who uses one holds a lock in it.
//   - Missing binaries are a failure of the test, never a reason to skip it. On a
//     Debian machine root installs the package, once, and no service is left
//     running or enabled by it.
//   - Nothing outside of the temporary directory is written, that package apart.
//   - By default nothing is flushed to the disk, which is faster; what a crash of
//     the machine leaves is not tested then. [Options.Durable] flushes as in real use.
package pgtest
