package cli

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/config"
	"github.com/jobcontrol/jobcontrol/store/postgres"
	"github.com/jobcontrol/jobcontrol/store/sqlite"
)

// A place is where a store is.
type place struct {
	memory   bool
	path     string // of an SQLite file
	postgres string // URL of a PostgreSQL database, with its password
}

// String is the place as a URL, without its password.
func (p place) String() string {
	switch {
	case p.memory:
		return "memory:"
	case p.postgres != "":
		return shownURL(p.postgres)
	}
	return "sqlite:" + p.path
}

// GoString is String: %#v must not show the password.
func (p place) GoString() string { return p.String() }

// shownURL is the URL of a database without its password; one that cannot be
// read is not shown at all.
func shownURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "postgresql:…"
	}
	if _, has := u.User.Password(); has {
		u.User = url.User(u.User.Username())
	}
	if q := u.Query(); q.Has("password") {
		q.Del("password")
		u.RawQuery = q.Encode()
	}
	return u.String()
}

// place finds the store for commands that need nothing else.
func (e *environment) place(ctx context.Context) (place, error) {
	f, err := e.fileFor(ctx, needStore)
	if err != nil {
		return place{}, err
	}
	return e.placeOf(ctx, f)
}

// placeOf finds the store: --storage, else what the file says, else beside it.
// A path in the file is relative to its directory, one of --storage to this one.
func (e *environment) placeOf(ctx context.Context, f *config.File) (place, error) {
	if e.storage != "" {
		return parsePlace("--storage", e.storage, "")
	}
	dir := f.Dir
	if f.StorageSecret != "" {
		url, err := f.Secret(ctx, f.StorageSecret)
		if err != nil {
			return place{}, &jobcontrol.Error{Code: jobcontrol.CodeOf(err), Message: "storage", Cause: err}
		}
		return parsePlace("storage", url, dir)
	}
	if f.Storage != "" {
		return parsePlace("storage", f.Storage, dir)
	}
	return place{path: filepath.Join(dir, ".jobcontrol", "state.db")}, nil
}

const placeHint = "use sqlite:PATH, postgresql://USER@HOST/DATABASE or memory:"

// parsePlace reads the URL of a store. What it returns and its errors never show
// a password.
func parsePlace(what, text, dir string) (place, error) {
	scheme, rest, ok := strings.Cut(text, ":")
	switch {
	case !ok:
		return place{}, usage(placeHint, "%s is no URL", what) // it may have a password in it
	case scheme == "memory":
		return place{memory: true}, nil
	case scheme == "postgresql" || scheme == "postgres":
		if _, err := url.Parse(text); err != nil || !strings.HasPrefix(rest, "//") {
			return place{}, usage("such as postgresql://USER@HOST:5432/DATABASE?table_prefix=jc_; characters like @ / # in a password are written as %40 %2F %23",
				"%s is no URL of a PostgreSQL database", what)
		}
		return place{postgres: text}, nil
	case scheme != "sqlite":
		return place{}, usage(placeHint, "%s: there is no store for %q", what, scheme+":")
	}
	if after, ok := strings.CutPrefix(rest, "///"); ok { // sqlite:///PATH, as others write it
		rest = "/" + after
	}
	if rest == "" {
		return place{}, usage("such as sqlite:state.db", "%s %q names no file", what, text)
	}
	if !filepath.IsAbs(rest) {
		rest = filepath.Join(dir, rest)
	}
	return place{path: rest}, nil
}

// missing tells whether a place is a file that does not exist yet.
func missing(p place) bool {
	if p.path == "" {
		return false
	}
	_, err := os.Stat(p.path)
	return errors.Is(err, fs.ErrNotExist)
}

// noStore says that the store of a command that needs one is missing.
func noStore(p place) error {
	return &jobcontrol.Error{
		Code: jobcontrol.NotFound, Message: "there is no store yet: " + p.String(),
		Hint: "the first `jobcontrol run` makes it, or `jobcontrol install`",
	}
}

// openStore opens a store. One in a file that does not exist is only made where
// create says so; else an empty one stands for it that ends with the program.
func openStore(ctx context.Context, p place, create bool) (jobcontrol.Store, error) {
	if p.postgres != "" {
		return postgres.Open(ctx, postgres.Options{URL: p.postgres})
	}
	path := p.path
	if p.memory || !create && missing(p) {
		path = sqlite.Memory
	}
	return sqlite.Open(ctx, path, sqlite.Options{})
}
