package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/jobcontrol/jobcontrol"
	modernc "modernc.org/sqlite"
)

// claimLeap is by how much a restored file is ahead in claim numbers: more than
// were given out after it was copied.
const claimLeap = 1 << 32

// Backup writes a copy of the file to path: what was durable at one moment,
// while others go on writing. It is checked before it appears under its name,
// and for nobody but its owner. What is there already is only replaced by force.
func (s *Store) Backup(ctx context.Context, path string, force bool) error {
	if _, err := os.Lstat(path); err == nil && !force {
		return exists(path)
	}
	temp, err := newBeside(path)
	if err != nil {
		return err
	}
	defer os.Remove(temp) // it was renamed, or is worthless
	c, err := s.connect(bothPragmas)
	if err != nil {
		return s.public(err)
	}
	_, err = c.exec(`VACUUM INTO ?`, temp)
	if err = errors.Join(err, c.close()); err != nil {
		return s.public(err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkCopy(temp, path); err != nil {
		return err
	}
	return publish(temp, path, force)
}

// Restore puts the file at from, which [Store.Backup] wrote, in the place of the
// store at path. It is refused while somebody uses that; what was there is kept
// beside it, under the name that is returned ("": nothing was there). In the
// restored store no worker is left, and no claim that was ever given out is valid.
func Restore(ctx context.Context, from, path string, opts Options) (kept string, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return "", unavailable(err)
	}
	if info, err := os.Stat(from + "-wal"); err == nil && info.Size() > 0 {
		return "", &jobcontrol.Error{
			Code: jobcontrol.Conflict, Message: from + " is not a whole copy: a program uses it, or used it last and died",
			Hint: "write copies with `jobcontrol backup`",
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", unavailable(err)
	}
	temp, err := newBeside(path)
	if err != nil {
		return "", err
	}
	defer func() {
		for _, end := range []string{"", "-wal", "-shm"} {
			_ = os.Remove(temp + end) // it was renamed, or is worthless
		}
	}()
	if err := copyFile(from, temp); err != nil {
		return "", err
	}
	if err := checkCopy(temp, from); err != nil {
		return "", err
	}
	old, err := seize(path)
	if err != nil {
		return "", err
	}
	defer old.release()
	if err := renew(ctx, temp, opts, old); err != nil {
		return "", err
	}
	if old.c == nil {
		return "", publish(temp, path, false)
	}
	// At first what is there gets a second name: there is a store at every moment.
	kept = path + ".before-" + time.Now().UTC().Format("20060102T150405.000000")
	if err := os.Link(path, kept); err != nil {
		return "", unavailable(err)
	}
	if err = syncFile(filepath.Dir(path)); err != nil {
		err = unavailable(err)
	} else {
		err = publish(temp, path, true)
	}
	if err != nil && sameFile(path, kept) {
		_ = os.Remove(kept) // nothing was replaced: it has one name again
		kept = ""
	}
	return kept, err
}

// sameFile tells whether two names are of one file.
func sameFile(a, b string) bool {
	one, err := os.Lstat(a)
	if err != nil {
		return false
	}
	two, err := os.Lstat(b)
	return err == nil && os.SameFile(one, two)
}

// seized is a store that nobody uses, and nobody can open until it is released.
type seized struct {
	c         *conn // nil: there is no file
	id, claim int64 // the last ones that it gave out
}

func (o *seized) release() {
	if o.c != nil {
		_ = o.c.close() // nothing was written
	}
}

// seize takes the file at path for this program alone. Nobody else has it open
// if its log can be ended.
func seize(path string) (*seized, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return &seized{}, nil
	}
	c, err := dial(path, "rw")
	if err != nil {
		return nil, unavailable(err)
	}
	o, mode := &seized{c: c}, ""
	_, err = c.first(func(r *row) { mode = r.text() }, `PRAGMA journal_mode = DELETE`)
	if err == nil && mode == "delete" {
		_, err = c.exec(`BEGIN EXCLUSIVE`)
	}
	if isBusy(err) || err == nil && mode != "delete" {
		o.release()
		return nil, &jobcontrol.Error{
			Code: jobcontrol.Conflict, Message: "the store is in use: " + path,
			Hint: "stop every worker and program that uses it (`jobcontrol workers`)",
		}
	}
	if err == nil {
		if v, verr := schemaVersion(c); verr == nil && v > 0 {
			_, err = c.first(func(r *row) { o.id, o.claim = r.int(), r.int() }, `SELECT id, claim FROM sequences`)
		}
	}
	// A damaged file is replaced, too: that is what copies are for.
	if code := codeOf(err); err != nil && code != codeCorrupt && code != codeNotADB && code != codeError {
		o.release()
		return nil, unavailable(err)
	}
	return o, nil
}

// renew makes a copy a store that goes on: without workers, with numbers of
// builds and claims that neither it nor the old one gave out.
func renew(ctx context.Context, path string, opts Options, old *seized) (err error) {
	s, err := Open(ctx, path, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Install(ctx); err != nil {
		return err
	}
	if _, err := s.Rescue(ctx, func(jobcontrol.Process) (alive, known bool) { return false, true }); err != nil {
		return err
	}
	return s.write(ctx, "restore", func(t *tx) error {
		_, err := t.exec(`UPDATE sequences SET id = max(id, ?), claim = max(claim, ?) + ?`, old.id, old.claim, int64(claimLeap))
		return err
	})
}

// checkCopy refuses a file that is damaged or no store; name is what it is called.
func checkCopy(path, name string) error {
	first, version := "", 0
	c, err := dial(path, "ro")
	if err == nil {
		if _, err = c.first(func(r *row) { first = r.text() }, `PRAGMA quick_check(1)`); err == nil {
			version, err = schemaVersion(c)
		}
		err = errors.Join(err, c.close())
	}
	switch {
	case err != nil:
		return jobcontrol.Errorf(jobcontrol.Invalid, "%s is no copy of a store: %v", name, err)
	case first != "ok":
		return jobcontrol.Errorf(jobcontrol.Invalid, "%s is damaged: %s", name, first)
	case version == 0:
		return jobcontrol.Errorf(jobcontrol.Invalid, "%s is no copy of a store: it has no tables of JobControl", name)
	}
	return nil
}

// dial opens a file that is not opened as a store.
func dial(path, mode string) (*conn, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	uri := url.URL{Scheme: "file", Path: path, RawQuery: "mode=" + mode}
	dsn, err := modernc.NewConnector(uri.String())
	if err != nil {
		return nil, err
	}
	dc, err := dsn.Connect(context.Background())
	if err != nil {
		return nil, err
	}
	return newConn(dc), nil
}

func exists(path string) error {
	return &jobcontrol.Error{Code: jobcontrol.Conflict, Message: path + " exists already", Hint: "--force replaces it"}
}

// newBeside makes an empty file in the directory of path.
func newBeside(path string) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return "", jobcontrol.Errorf(jobcontrol.Invalid, "%v", err)
	}
	return f.Name(), errors.Join(f.Chmod(0o600), f.Close())
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return jobcontrol.Errorf(jobcontrol.Invalid, "%v", err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return unavailable(err)
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return unavailable(fmt.Errorf("copy %s: %w", from, err))
	}
	return nil
}

// publish makes a finished file durable under its name.
func publish(temp, path string, force bool) error {
	err := syncFile(temp)
	switch {
	case err != nil:
	case force:
		err = os.Rename(temp, path)
	default:
		if err = os.Link(temp, path); errors.Is(err, fs.ErrExist) {
			return exists(path)
		}
	}
	if err = errors.Join(err, syncFile(filepath.Dir(path))); err != nil {
		return unavailable(err)
	}
	return nil
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
