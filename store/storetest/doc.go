// Package storetest is the specification of [jobcontrol.Store] as tests: a store
// is one if [Test] passes. A new store joins with a dozen lines:
//
//	func TestStore(t *testing.T) {
//		storetest.Test(t, func(t *testing.T) jobcontrol.Store {
//			s, err := mystore.Open(…)
//			if err != nil {
//				t.Fatal(err)
//			}
//			return s
//		})
//	}
//
// A store that has a second value on the same database may implement [Another].
//
// What the interface's comments leave open is settled here: which guard refuses
// with which error, what a repeated call answers, in which order things come.
//
// [Faulty] wraps a store and makes it fail on demand, for tests of those who use
// one. The suite uses it too: whatever call of a write fails, before it was
// executed or after, repeating it leads to the state that there would be without
// the fault.
package storetest
