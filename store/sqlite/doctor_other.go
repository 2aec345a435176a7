//go:build !linux

package sqlite

import "errors"

// freeSpace cannot tell here.
func freeSpace(string) (int64, error) {
	return 0, errors.New("how much room is left cannot be seen here")
}
