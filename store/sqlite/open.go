package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/fault"
	modernc "modernc.org/sqlite"
)

// Memory is the path of a store that ends with its handle and that nobody else sees.
const Memory = "memory:"

// Options are the settings of a store. The zero value is what is wanted.
type Options struct {
	// Now is the clock; nil: the machine's.
	Now func() time.Time
	// BusyTimeout is how long another program may hold the write lock; 0: 30 s.
	BusyTimeout time.Duration

	boot     func() (us int64, boot string, err error) // nil: the machine's boot clock
	network  func(dir string) (string, error)          // nil: statfs
	logBytes int64                                     // 0: jobcontrol.MaxLogBytes

	manyClaims int // 0: manyClaims
}

// Store is a [jobcontrol.Store] in one SQLite file.
type Store struct {
	name    string // of the file, as it was given
	path    string // absolute
	temp    string // the directory to remove at the end, or ""
	opts    Options
	dsn     driver.Connector
	file    *file
	w       *writer
	hints   hints
	fresh   freshBuilds
	readers chan *reader // those that are not in use
	closed  atomic.Bool
}

var _ jobcontrol.Store = (*Store)(nil)

const (
	// A small page, since a commit writes each page that it touched, and a build
	// touches few bytes on a few pages: 1,000 commits of one build write 4 MB
	// instead of the 15 MB of 4 KiB pages. It must be set before the log mode.
	createPragmas = `PRAGMA page_size = 1024; PRAGMA journal_mode = WAL;`

	// FULL: with NORMAL a power cut loses what was acknowledged. A log of 8 MiB
	// before its pages are copied into the file: pages that many commits touch,
	// such as those of heads, are then copied once.
	writerPragmas = `PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 8192; PRAGMA cache_size = -65536; ` + bothPragmas
	memoryPragmas = `PRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = 8192; PRAGMA cache_size = -65536; ` + bothPragmas
	readerPragmas = `PRAGMA query_only = 1; PRAGMA cache_size = -8192; ` + bothPragmas

	// cell_size_check notices damaged pages earlier.
	bothPragmas = `PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = 1; PRAGMA trusted_schema = 0;`
)

// Open opens the file at path, which it creates with its directory where they
// are missing, for nobody but their owner; [Memory] makes a store that ends with
// the handle. The tables are made by [Store.Install]. Any number of programs of
// one machine may open the same file; a file on a network is refused.
func Open(ctx context.Context, path string, opts Options) (*Store, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.BusyTimeout == 0 {
		opts.BusyTimeout = 30 * time.Second
	}
	if opts.boot == nil {
		opts.boot = newBootClock()
	}
	if opts.network == nil {
		opts.network = network
	}
	if opts.manyClaims == 0 {
		opts.manyClaims = manyClaims
		if fault.Enabled { // what is broken on purpose shall be broken there, too
			opts.manyClaims = 2
		}
	}
	if opts.logBytes == 0 {
		opts.logBytes = jobcontrol.MaxLogBytes
	}
	s := &Store{name: path, opts: opts, readers: make(chan *reader, max(2, min(4, runtime.GOMAXPROCS(0))))}
	pragmas := writerPragmas
	if path == Memory {
		dir, err := os.MkdirTemp("", "jobcontrol-")
		if err != nil {
			return nil, s.public(unavailable(err))
		}
		s.temp, path, pragmas = dir, filepath.Join(dir, "state.db"), memoryPragmas
	}
	if err := s.open(ctx, path, pragmas); err != nil {
		s.removeTemp()
		return nil, s.public(err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, path, pragmas string) error {
	var err error
	if s.path, err = filepath.Abs(path); err != nil {
		return unavailable(err)
	}
	if err := s.create(); err != nil {
		return err
	}
	if s.file, err = identify(s.path); err != nil {
		return err
	}
	if err := forget(s.path + "-wal"); err != nil {
		return unavailable(err)
	}
	if err := s.examineWAL(); err != nil {
		return err
	}
	uri := url.URL{Scheme: "file", Path: s.path, RawQuery: "mode=rw"}
	if s.dsn, err = modernc.NewConnector(uri.String()); err != nil {
		return err
	}
	var c *conn
	err = s.patiently(func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		c, err = s.connect(createPragmas + pragmas)
		if err != nil {
			return err
		}
		if err = s.check(c); err != nil {
			_ = c.close() // the first error is the one that matters
		}
		return err
	})
	if err != nil {
		return err
	}
	s.w = newWriter(s, c)
	for range cap(s.readers) {
		s.readers <- &reader{}
	}
	return nil
}

// create makes the directory and an empty file, whatever the umask says, and
// refuses what cannot work.
func (s *Store) create() error {
	dir := filepath.Dir(s.path)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return unavailable(err)
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			return unavailable(err)
		}
	}
	name, err := s.opts.network(dir)
	if err != nil {
		return unavailable(err)
	}
	if name != "" {
		return &jobcontrol.Error{
			Code:    jobcontrol.Unavailable,
			Message: fmt.Sprintf("store unavailable: %s is on a network file system (%s), where SQLite's locks do not work", s.name, name),
			Hint:    "keep the store on a local disk, or use PostgreSQL",
		}
	}
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return unavailable(err)
	}
	return errors.Join(f.Chmod(0o600), f.Close())
}

// check refuses a file that is not what it should be.
func (s *Store) check(c *conn) error {
	var mode string
	if _, err := c.first(func(r *row) { mode = r.text() }, `PRAGMA journal_mode`); err != nil {
		return err
	}
	if mode != "wal" {
		return jobcontrol.Errorf(jobcontrol.Unavailable, "store unavailable: %s has the journal mode %q and cannot be given another", s.name, mode)
	}
	return s.refuseNewer(c)
}

// connect makes a connection.
func (s *Store) connect(pragmas string) (*conn, error) {
	var c *conn
	err := safely(func() error {
		dc, err := s.dsn.Connect(context.Background())
		if err != nil {
			return err
		}
		c = newConn(dc)
		return c.script(pragmas)
	})
	if err != nil {
		if c != nil {
			_ = safely(c.close) // the first error is the one that matters
		}
		return nil, err
	}
	return c, nil
}

// Close waits for the writes that were begun and releases the file. Later calls
// of any method are refused.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.w.stop()
	for range cap(s.readers) {
		r := <-s.readers
		r.discard()
	}

	err := safely(s.w.c.close)
	for range cap(s.readers) {
		s.readers <- &reader{} // whoever still waits is told that it is closed
	}
	s.removeTemp()
	return s.public(err)
}

func (s *Store) removeTemp() {
	if s.temp != "" {
		_ = os.RemoveAll(s.temp) // the system's temporary directory is swept by others
	}
}

func (s *Store) clock() time.Time { return jobcontrol.Micros(s.opts.Now()) }

// Now returns the store's time.
func (s *Store) Now(context.Context) (time.Time, error) { return s.clock(), nil }

// file tells whether the path still leads to the file that was opened.
type file struct {
	path string
	info fs.FileInfo
}

var errReplaced = &final{&jobcontrol.Error{
	Code:    jobcontrol.Unavailable,
	Message: "store unavailable: the database file was deleted or replaced while it was open",
	Hint:    "start the program again",
}}

func identify(path string) (*file, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, unavailable(err)
	}
	return &file{path, info}, nil
}

func (f *file) same() error {
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errReplaced
	case err != nil:
		return unavailable(err)
	case !os.SameFile(info, f.info):
		return errReplaced
	}
	return nil
}
