//go:build linux

package chaos

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestDisk holds that what was flushed survives a power cut, and that something
// that was not is lost in one of many.
func TestDisk(t *testing.T) {
	if why := canCutPower(); why != "" {
		t.Skip(why)
	}
	m, err := newMachine(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.release(); err != nil {
			t.Error(err)
		}
	})
	lost := 0
	for i := range 8 {
		flushed, cached := filepath.Join(m.mount, "flushed"), filepath.Join(m.mount, "cached")
		f, err := os.Create(flushed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("flushed"); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		if err := os.WriteFile(cached, []byte("cached"), 0o600); err != nil {
			t.Fatal(err)
		}
		m.image = m.disk.afterCut(rand.New(rand.NewPCG(uint64(i), 1)))
		if err := m.release(); err != nil {
			t.Fatal(err)
		}
		if err := m.on(); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(flushed); err != nil || string(got) != "flushed" {
			t.Errorf("cut %d: %q, %v", i, got, err)
		}
		if got, _ := os.ReadFile(cached); string(got) != "cached" {
			lost++
		}
		_ = os.Remove(flushed)
		_ = os.Remove(cached)
	}
	if lost == 0 {
		t.Error("no cut lost anything")
	}
}

// TestDiskTellsFullFromNormal holds that the emulated power cut finds what it is
// there for: with synchronous=NORMAL SQLite loses what it has acknowledged, with
// FULL it does not.
func TestDiskTellsFullFromNormal(t *testing.T) {
	if why := canCutPower(); why != "" {
		t.Skip(why)
	}
	lost := map[string]int{}
	for _, mode := range []string{"FULL", "NORMAL"} {
		m, err := newMachine(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		for i := range 6 {
			path := filepath.Join(m.mount, "test.db")
			before, told := appendRows(t, path, mode, 40)
			m.image = m.disk.afterCut(rand.New(rand.NewPCG(uint64(i), 2)))
			_ = before.Close() // its disk is broken
			if err := m.release(); err != nil {
				t.Fatal(err)
			}
			if err := m.on(); err != nil {
				t.Fatal(err)
			}
			if err := integrity(context.Background(), path); err != nil {
				t.Errorf("%s: %v", mode, err)
			}
			after, rows := appendRows(t, path, mode, 0)
			_ = after.Close()
			lost[mode] += told - rows
		}
		if err := m.release(); err != nil {
			t.Error(err)
		}
	}
	if lost["FULL"] > 0 || lost["NORMAL"] == 0 {
		t.Errorf("acknowledged rows that were lost: %v; want none with FULL, some with NORMAL", lost)
	}
}

// appendRows adds rows, each a transaction, and returns how many there are. The
// database stays open, since its last close would copy and flush the log.
func appendRows(t *testing.T, path, mode string, n int) (*sql.DB, int) {
	t.Helper()
	db, err := sql.Open("sqlite", path+"?_pragma=journal_mode(WAL)&_pragma=synchronous("+mode+")")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	for range n {
		if _, err := db.Exec("INSERT INTO t DEFAULT VALUES"); err != nil {
			t.Fatal(err)
		}
	}
	return db, countRows(t, db)
}

func countRows(t *testing.T, db *sql.DB) (n int) {
	t.Helper()
	if err := db.QueryRow("SELECT count(*) FROM t").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestDiskTellsOfFailures holds that a write to the device whose part failed is
// told to have failed: no such write is on the disk without having been told.
func TestDiskTellsOfFailures(t *testing.T) {
	if why := canCutPower(); why != "" {
		t.Skip(why)
	}
	m, err := newMachine(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.release(); err != nil {
			t.Error(err)
		}
	})
	// Its file system is not written meanwhile.
	device, err := os.OpenFile(m.device, os.O_RDWR|syscall.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	buffer, err := syscall.Mmap(-1, 0, 2<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	failures := 0
	for i := range 40 {
		// Neither begins nor ends with a page, at a place that nobody has read.
		at, size := int64(i)<<20+1024*int64(1+i%4), 1024*(1+i*i)
		for part := 1; ; part++ {
			for j := range buffer[:size] {
				buffer[j] = byte(i + part + 1)
			}
			m.disk.failAt(part, true)
			_, err := device.WriteAt(buffer[:size], at)
			failed := m.disk.failed()
			m.disk.failAt(0, true)
			if !failed {
				break // it has fewer parts
			}
			failures++
			if err == nil {
				t.Errorf("part %d of a write of %d bytes at %d failed, and nobody was told", part, size, at)
			}
		}
	}
	if failures == 0 {
		t.Error("nothing failed")
	}
	t.Logf("%d failures", failures)
}
