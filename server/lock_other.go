//go:build !linux

package server

import "github.com/jobcontrol/jobcontrol"

type lock struct{}

func takeLock(string) (*lock, error) {
	return nil, jobcontrol.Errorf(jobcontrol.Unavailable, "serve: the lock of a server needs Linux")
}

func (l *lock) close() error { return nil }
