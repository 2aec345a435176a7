package postgres

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// stall is longer than the server lets a transaction be idle.
const stall = 6 * time.Second

// behindLink opens a store whose link to the server pass handles: it gets what the
// client has sent, and where to send it.
func behindLink(t *testing.T, pass func(data []byte, to io.Writer)) (*Store, jobcontrol.Lease) {
	t.Helper()
	ctx := context.Background()
	_, text := server.Database(t)
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	socket := q.Get("host") + "/.s.PGSQL." + q.Get("port")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			back, err := net.Dial("unix", socket)
			if err != nil {
				client.Close()
				continue
			}
			go func() {
				_, _ = io.Copy(client, back)
				client.Close()
			}()
			go func() {
				defer back.Close()
				buf := make([]byte, 1<<20)
				for {
					n, err := client.Read(buf)
					if pass(buf[:n], back); err != nil {
						return
					}
				}
			}()
		}
	}()
	host, port, _ := net.SplitHostPort(listener.Addr().String())
	q.Set("host", host)
	q.Set("port", port)
	q.Set("sslmode", "disable")
	u.RawQuery = q.Encode()
	s, err := Open(ctx, Options{URL: u.String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Install(ctx); err != nil {
		t.Fatal(err)
	}
	l, err := s.Register(ctx, jobcontrol.Process{PID: 1}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return s, l
}

// TestStalledLink holds that a write is repeated during which the link stalled for
// longer than the server waits.
func TestStalledLink(t *testing.T) {
	for at := int64(2); at <= 4; at++ { // the message that is late
		t.Run(itoa(at), func(t *testing.T) {
			t.Parallel()
			var left atomic.Int64
			s, l := behindLink(t, func(data []byte, to io.Writer) {
				if left.Add(-1) == 0 {
					time.Sleep(stall)
				}
				_, _ = to.Write(data)
			})
			lone(t, s, "a", 1)
			c := claim(t, s, l, 1)[0].Claim
			now := time.Now()
			e := jobcontrol.Ended{State: jobcontrol.Failed, ReadyAt: now, Attempt: jobcontrol.Attempt{
				Number: 1, StartedAt: now, FinishedAt: now, Failure: &jobcontrol.Failure{Kind: jobcontrol.FailError, Message: "x"},
			}}
			left.Store(at)
			if b, err := s.Retry(context.Background(), c, e); err != nil || b.Attempts != 1 {
				t.Errorf("%+v, %v (%v)", b, err, errors.Unwrap(err))
			}
		})
	}
}

// TestLargeMessage holds that a large message may take longer than the server lets
// a transaction be idle.
func TestLargeMessage(t *testing.T) {
	t.Parallel()
	var left atomic.Int64 // bytes until the link stalls, once
	s, l := behindLink(t, func(data []byte, to io.Writer) {
		if was := left.Add(-int64(len(data))) + int64(len(data)); was > 0 && was <= int64(len(data)) {
			_, _ = to.Write(data[:was])
			data = data[was:]
			time.Sleep(stall)
		}
		_, _ = to.Write(data)
	})
	lone(t, s, "a", 1)
	c := claim(t, s, l, 1)[0].Claim
	noise := make([]byte, 400<<10) // which is not compressed much
	_, _ = rand.Read(noise)
	text := hex.EncodeToString(noise)
	var records []jobcontrol.LogRecord
	for ; len(text) > 0; text = text[64<<10:] {
		records = append(records, jobcontrol.LogRecord{Level: jobcontrol.LevelInfo, Message: text[:min(64<<10, len(text))], Time: time.Now()})
		if len(text) < 64<<10 {
			break
		}
	}
	left.Store(200 << 10)
	begin := time.Now()
	if err := s.Report(context.Background(), c, records, nil); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took < stall || took > 2*stall {
		t.Errorf("it took %v: it did not stall, or was repeated", took)
	}
}
