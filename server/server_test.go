package server_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/server"
)

// TestLock has a second server refused as long as the first one is there.
func TestLock(t *testing.T) {
	cfg := server.Config{Lock: filepath.Join(t.TempDir(), "state.db.serve")}
	first, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		_, err = server.New(cfg)
		if !errors.Is(err, jobcontrol.ErrConflict) || !strings.Contains(err.Error(), fmt.Sprintf("process %d serves", os.Getpid())) {
			t.Fatalf("second server: %v", err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := server.New(server.Config{Lock: filepath.Join(t.TempDir(), "no", "dir")}); !errors.Is(err, jobcontrol.ErrUnavailable) {
		t.Errorf("no directory: %v", err)
	}
}
