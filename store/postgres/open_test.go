package postgres

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/jobcontrol/jobcontrol"
)

// TestCannotOpen: who cannot reach a database is told so once, and what to do.
func TestCannotOpen(t *testing.T) {
	t.Parallel()
	_, text := server.Database(t)
	missing, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	missing.Path = "/nodb"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "postgresql://user@" + l.Addr().String() + "/db"
	l.Close()
	for _, test := range []struct{ url, says, hint string }{
		{missing.String(), "there is no database nodb", "createdb nodb"},
		{nobody, "connection refused", "is the server running"},
	} {
		s, err := Open(context.Background(), Options{URL: test.url})
		if err == nil {
			s.Close()
		}
		var e *jobcontrol.Error
		if !errors.Is(err, jobcontrol.ErrUnavailable) || !errors.As(err, &e) || !strings.Contains(e.Hint, test.hint) || strings.Count(err.Error(), test.says) != 1 {
			t.Errorf("%s: %v (%+v)", test.url, err, e)
		}
	}
}
