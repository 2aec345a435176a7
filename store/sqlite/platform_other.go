//go:build !linux

package sqlite

import "errors"

// network cannot tell here.
func network(string) (string, error) { return "", nil }

// bootClock is refused: the platform is Linux.
func bootClock() (us int64, boot string, err error) {
	return 0, "", errors.New("leases need Linux's boot clock")
}
