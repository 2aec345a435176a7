//go:build linux

package faults

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/sqlite"
)

// image is a store as a crash left it: the file, its log, and the log's index.
type image struct {
	file, wal, shm []byte
	content        string // what is stored, as a hash; see content
}

const pageSize = 1024

// damage is a way to damage an image, of which it changes copies.
type damage struct {
	name string
	do   func(t *trial, now, before *image)
	// unseen: what changes within a stored value is a value like any other to
	// SQLite, which keeps no checksums.
	unseen bool
}

var damages = []damage{
	{"a bit is flipped", func(t *trial, now, _ *image) { now.file[t.rng.IntN(len(now.file))] ^= 1 << t.rng.IntN(8) }, true},
	{"20 bits are flipped", func(t *trial, now, _ *image) {
		for range 20 {
			now.file[t.rng.IntN(len(now.file))] ^= 1 << t.rng.IntN(8)
		}
	}, true},
	{"file truncated", func(t *trial, now, _ *image) { now.file = now.file[:t.rng.IntN(len(now.file))] }, false},
	{"page of zeros", func(t *trial, now, _ *image) { clear(t.page(now)) }, false},
	{"page of noise", func(t *trial, now, _ *image) { t.noise(t.page(now)) }, false},
	{"page of an older time", func(t *trial, now, before *image) {
		// A write that the disk acknowledged and did not do.
		changed := t.changed(now, before)
		at := changed[t.rng.IntN(len(changed))] * pageSize
		copy(now.file[at:at+pageSize], before.file[at:])
	}, true},
	{"log deleted", func(_ *trial, now, _ *image) { now.wal = nil }, false},
	{"log and index deleted", func(_ *trial, now, _ *image) { now.wal, now.shm = nil, nil }, true},
	{"log of an older time", func(_ *trial, now, before *image) { now.wal = bytes.Clone(before.wal) }, true},
	{"log truncated", func(t *trial, now, _ *image) { now.wal = now.wal[:t.rng.IntN(len(now.wal))] }, true},
	{"bit of the log flipped", func(t *trial, now, _ *image) { now.wal[t.rng.IntN(len(now.wal))] ^= 1 << t.rng.IntN(8) }, true},
	{"index of an older time", func(_ *trial, now, before *image) { now.shm = bytes.Clone(before.shm) }, false},
	{"index of noise", func(t *trial, now, _ *image) { t.noise(now.shm) }, false},
}

func (t *trial) page(i *image) []byte {
	return i.file[t.rng.IntN(len(i.file)/pageSize)*pageSize:][:pageSize]
}

func (t *trial) noise(data []byte) {
	for i := range data {
		data[i] = byte(t.rng.Uint32())
	}
}

// changed are the pages that have changed between two images.
func (t *trial) changed(now, before *image) (pages []int) {
	for at := 0; at+pageSize <= min(len(now.file), len(before.file)); at += pageSize {
		if !bytes.Equal(now.file[at:at+pageSize], before.file[at:at+pageSize]) {
			pages = append(pages, at/pageSize)
		}
	}
	if len(pages) == 0 {
		t.Fatal("no page has changed")
	}
	return pages
}

// damaged damages a store again and again, and looks who notices.
func damaged(ctx context.Context, t *trial) {
	before, now := t.images(ctx, scaled(10<<20, 256<<10))
	path := filepath.Join(t.dir, "damaged.db")
	count := map[string]int{}
	n := scaled(500, 2*len(damages))
	for i := range n {
		d := &damages[i%len(damages)]
		bad := image{bytes.Clone(now.file), bytes.Clone(now.wal), bytes.Clone(now.shm), now.content}
		d.do(t, &bad, before)
		t.n++
		what := t.notice(ctx, path, &bad)
		count[what]++
		if what == silent {
			count[what+": "+d.name]++
			if !d.unseen {
				t.Errorf("mutation %d, %s: other content than before, and nobody says so", i, d.name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(count)) {
		t.figure("%s %d", name, count[name])
	}
}

// Who notices a damage.
const (
	atOpen   = "refused when opened"
	atRead   = "error when read"
	byDoctor = "told by doctor"
	harmless = "nothing lost"
	silent   = "silent"
)

// notice uses a damaged store and tells who noticed. A panic ends the test.
func (t *trial) notice(ctx context.Context, path string, bad *image) string {
	t.Helper()
	t.put(path, bad)
	s, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		t.named(path, err)
		return atOpen
	}
	defer s.Close() // nothing that matters is written
	got, err := content(ctx, s)
	if err != nil {
		t.named(path, err)
		return atRead
	}
	found, err := s.Doctor(ctx)
	if err != nil {
		t.named(path, err)
		return byDoctor
	}
	for _, f := range found {
		if f.Severity == jobcontrol.SeverityError && f.Check != "disk" {
			return byDoctor
		}
	}
	if got == bad.content {
		return harmless
	}
	return silent
}

// named holds that an error says which file is meant, and has a code.
func (t *trial) named(path string, err error) {
	t.Helper()
	switch jobcontrol.CodeOf(err) {
	case jobcontrol.Unavailable:
		if !strings.Contains(err.Error(), filepath.Base(path)) && !strings.Contains(err.Error(), "schema") {
			t.Errorf("the error does not name the file: %v", err)
		}
	case jobcontrol.NotFound, jobcontrol.Conflict, jobcontrol.Internal:
	default:
		t.Errorf("%v (%s)", err, jobcontrol.CodeOf(err))
	}
}

// put writes an image to files.
func (t *trial) put(path string, i *image) {
	t.Helper()
	for suffix, data := range map[string][]byte{"": i.file, "-wal": i.wal, "-shm": i.shm} {
		t.must(os.RemoveAll(path + suffix))
		if data != nil {
			t.must(os.WriteFile(path+suffix, data, 0o600))
		}
	}
}

// take reads the files of a store that nobody writes.
func (t *trial) take(ctx context.Context, s *sqlite.Store, path string) *image {
	t.Helper()
	var i image
	for suffix, data := range map[string]*[]byte{"": &i.file, "-wal": &i.wal, "-shm": &i.shm} {
		var err error
		*data, err = os.ReadFile(path + suffix)
		t.must(err)
	}
	var err error
	i.content, err = content(ctx, s)
	t.must(err)
	return &i
}

// images makes a store of at least this size and takes it, and once more after
// some more builds, of which a part is in the log alone.
func (t *trial) images(ctx context.Context, size int) (before, now *image) {
	path := filepath.Join(t.dir, "whole.db")
	s, err := sqlite.Open(ctx, path, sqlite.Options{})
	t.must(err)
	defer s.Close()
	t.must(s.Install(ctx))
	d := newDays(t, s)
	d.pass, d.large = func(float64) {}, 20_000
	for day := 0; ; day++ {
		d.execute(ctx, 0, 200)
		i := t.take(ctx, s, path)
		switch {
		case len(i.file) < size || len(i.wal) == 0:
		case before == nil:
			before = i
		case len(i.file) > len(before.file) && !bytes.Equal(i.wal, before.wal):
			for name, i := range map[string]*image{"before": before, "now": i} {
				if got := t.notice(ctx, filepath.Join(t.dir, "whole-copy.db"), i); got != harmless {
					t.Fatalf("the image %s is not whole: %s", name, got)
				}
			}
			return before, i
		}
		if day > 1000 {
			t.Fatal("the store does not become large enough")
		}
	}
}

// content is a hash of all that a store tells of its builds.
func content(ctx context.Context, s jobcontrol.Store) (string, error) {
	sum := sha256.New()
	add := func(v any, err error) error {
		if err == nil {
			err = json.NewEncoder(sum).Encode(v)
		}
		return err
	}
	builds, err := s.ListBuilds(ctx, jobcontrol.BuildFilter{Limit: -1})
	if err := add(builds, err); err != nil {
		return "", err
	}
	heads, err := s.Heads(ctx, "", nil)
	if err := add(heads, err); err != nil {
		return "", err
	}
	runs, err := s.ListRuns(ctx, jobcontrol.RunFilter{Limit: -1})
	if err := add(runs, err); err != nil {
		return "", err
	}
	definitions := map[string]bool{}
	for i := range builds {
		b := &builds[i]
		if !definitions[b.Definition] {
			definitions[b.Definition] = true
			j, err := s.Definition(ctx, b.Definition)
			if err := add(j, err); err != nil {
				return "", fmt.Errorf("definition: %w", err)
			}
		}
		attempts, err := s.Attempts(ctx, b.ID)
		if err := add(attempts, err); err != nil {
			return "", err
		}
		progress, err := s.Progress(ctx, b.ID)
		if err := add(progress, err); err != nil {
			return "", err
		}
		if err := s.Log(ctx, b.ID, jobcontrol.LogFilter{}, func(r jobcontrol.LogRecord) bool {
			err = add(r, nil)
			return err == nil
		}); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
