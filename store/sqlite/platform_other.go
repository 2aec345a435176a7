//go:build !linux

package sqlite

import "errors"

// network cannot tell here.
func network(string) (string, error) { return "", nil }

// newBootClock is refused: the platform is Linux.
func newBootClock() func() (us int64, boot string, err error) {
	return func() (int64, string, error) { return 0, "", errors.New("leases need Linux's boot clock") }
}

// noticed knows nothing here.
func noticed(string) error { return nil }

// forget cannot be done here.
func forget(string) error { return nil }
