package executor_test

import "syscall"

func workerMain() {}

func mkfifo(path string) error { return syscall.Mkfifo(path, 0o600) }
