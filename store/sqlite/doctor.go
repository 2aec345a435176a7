package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/jobcontrol/jobcontrol"
)

var _ jobcontrol.Examiner = (*Store)(nil)

const (
	walWarning     = 256 << 20 // a log this long is not copied into the file: somebody reads for very long
	freeWarning    = 64 << 20  // of free pages, where they are more than half of the file
	diskWarning    = 1 << 30
	diskError      = 64 << 20
	quickCheckRows = 10
)

// Doctor examines the file; see [jobcontrol.Examiner].
func (s *Store) Doctor(ctx context.Context) ([]jobcontrol.Finding, error) {
	var found []jobcontrol.Finding
	err := s.readOne(ctx, func(c *conn) error {
		found = nil
		for _, look := range []func(*conn) (jobcontrol.Finding, error){s.examineSchema, examineIntegrity, examinePages} {
			f, err := look(c)
			if err != nil {
				return err
			}
			found = append(found, f)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return append(found, s.examineLog(), s.examineDisk()), nil
}

func (s *Store) examineSchema(c *conn) (jobcontrol.Finding, error) {
	v, err := schemaVersion(c)
	known := len(migrationFiles)
	f := jobcontrol.Finding{Check: "schema", Severity: jobcontrol.SeverityOK, Text: fmt.Sprintf("version %d, %s", v, s.name)}
	switch {
	case err != nil:
	case v == 0:
		f.Severity, f.Text, f.Mend = jobcontrol.SeverityError, "the store has no tables yet: "+s.name, "`jobcontrol install`"
	case v < known:
		f.Severity = jobcontrol.SeverityError
		f.Text, f.Mend = fmt.Sprintf("version %d, this program wants version %d", v, known), "`jobcontrol install` upgrades it"
	case v > known:
		f.Severity = jobcontrol.SeverityError
		f.Text, f.Mend = fmt.Sprintf("version %d, this program knows versions up to %d", v, known), "upgrade jobcontrol"
	}
	return f, err
}

// examineIntegrity reads every page of the file.
func examineIntegrity(c *conn) (jobcontrol.Finding, error) {
	f := jobcontrol.Finding{Check: "integrity", Severity: jobcontrol.SeverityOK, Text: "every page is as it should be"}
	first := ""
	if _, err := c.first(func(r *row) { first = r.text() }, fmt.Sprintf(`PRAGMA quick_check(%d)`, quickCheckRows)); err != nil {
		return f, err
	}
	if first != "ok" {
		f.Severity, f.Text = jobcontrol.SeverityError, "the file is damaged: "+first
		f.Mend = "stop every program that uses it, keep a copy, and restore a backup"
	}
	return f, nil
}

func examinePages(c *conn) (jobcontrol.Finding, error) {
	f := jobcontrol.Finding{Check: "space", Severity: jobcontrol.SeverityOK}
	var sizes [3]int64
	for i, pragma := range []string{"page_size", "page_count", "freelist_count"} {
		n, err := c.number("PRAGMA " + pragma)
		if err != nil {
			return f, err
		}
		sizes[i] = n
	}
	total, free := sizes[0]*sizes[1], sizes[0]*sizes[2]
	f.Text = fmt.Sprintf("%s, of which %s are free", sizeText(total), sizeText(free))
	if free > freeWarning && free > total/2 {
		f.Severity, f.Mend = jobcontrol.SeverityWarning, "it is used again as builds are made; to give it back: sqlite3 FILE VACUUM, while nothing uses the store"
	}
	return f, nil
}

// examineLog looks at the write-ahead log, which is copied into the file unless
// somebody reads without end.
func (s *Store) examineLog() jobcontrol.Finding {
	f := jobcontrol.Finding{Check: "log", Severity: jobcontrol.SeverityOK, Text: "the write-ahead log is empty"}
	switch info, err := os.Stat(s.path + "-wal"); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		f.Severity, f.Text = jobcontrol.SeverityWarning, err.Error()
	default:
		f.Text = "the write-ahead log has " + sizeText(info.Size())
		if info.Size() > walWarning {
			f.Severity, f.Mend = jobcontrol.SeverityWarning, "some program reads the store without end: find it (fuser FILE) and stop it; if none does, the disk refuses writes to the file: see the log of the system"
		}
	}
	return f
}

func (s *Store) examineDisk() jobcontrol.Finding {
	f := jobcontrol.Finding{Check: "disk", Severity: jobcontrol.SeverityOK}
	free, err := freeSpace(s.path)
	if err != nil {
		f.Severity, f.Text = jobcontrol.SeverityWarning, err.Error()
		return f
	}
	f.Text = sizeText(free) + " are free on the disk of the store"
	switch {
	case free < diskError:
		f.Severity = jobcontrol.SeverityError
	case free < diskWarning:
		f.Severity = jobcontrol.SeverityWarning
	default:
		return f
	}
	f.Mend = "make room: without it nothing can be written, and jobs are not started"
	return f
}

// sizeText is a size for people.
func sizeText(n int64) string {
	switch {
	case n < 10<<10:
		return fmt.Sprintf("%d bytes", n)
	case n < 10<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	case n < 10<<30:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d GiB", n>>30)
}
