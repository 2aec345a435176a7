package config_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol/config"
)

// plainJobs is a file of n jobs without a template, each but the first one with a dependency.
func plainJobs(n int) string {
	var b strings.Builder
	b.WriteString("jobs:\n")
	for i := range n {
		fmt.Fprintf(&b, "- id: crawl_%d\n  title: Crawl site %d\n  function: mycrawler:crawl\n  args: [one, %d]\n"+
			"  kwargs:\n    url: http://example.com/%d\n", i, i, i, i)
		if i > 0 {
			fmt.Fprintf(&b, "    store: !retval crawl_%d\n  dependencies: [crawl_%d]\n", i-1, i-1)
		}
		b.WriteString("  tags: [crawler]\n")
	}
	return b.String()
}

const siteMacro = `{% macro process_website(name, url) %}
- id: crawl_{{ name }}
  title: Crawl {{ name }}
  function: mycrawler:crawl
  kwargs:
    url: {{ url }}
- id: process_{{ name }}
  title: Process {{ name }}
  dependencies: [crawl_{{ name }}]
  function: mycrawler:process
  kwargs:
    input_storage: !retval crawl_{{ name }}
{% endmacro %}
jobs:
`

// templatedJobs is a file of n jobs: n/2 calls of a macro.
func templatedJobs(n int) string {
	var b strings.Builder
	b.WriteString(siteMacro)
	for i := range n / 2 {
		fmt.Fprintf(&b, "{{ process_website(\"site_%d\", \"http://example.com/%d\") }}\n", i, i)
	}
	return b.String()
}

func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "jobs.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// peak is the most memory that this process has had, in MiB; 0 where the system does not tell.
func peak() int {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib := 0
	_, _ = fmt.Sscan(rest, &kib)
	return kib / 1024
}

// TestLarge loads as many jobs as a file may be expected to have, in 1 GiB and
// little time.
func TestLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("needs seconds and hundreds of MiB")
	}
	for _, c := range []struct {
		name string
		text string
		jobs int
		most time.Duration
	}{
		{"templated", templatedJobs(10_000), 10_000, 2 * time.Second},
		{"plain", plainJobs(100_000), 100_000, 8 * time.Second},
		{"templated", templatedJobs(100_000), 100_000, 8 * time.Second},
	} {
		path := write(t, c.text)
		begin := cpu(t)
		f, err := config.Load(context.Background(), path, options())
		if err != nil {
			t.Fatal(err)
		}
		took := cpu(t) - begin
		t.Logf("%d %s jobs, %d KiB: %v, at most %d MiB so far", c.jobs, c.name, len(c.text)>>10, took, peak())
		if f.Jobs.Len() != c.jobs {
			t.Errorf("%s: %d jobs", c.name, f.Jobs.Len())
		}
		if took > c.most*slowdown {
			t.Errorf("%s: %d jobs need %v of processor time, more than %v", c.name, c.jobs, took, c.most*slowdown)
		}
		if most := 1024 * int(slowdown); peak() > most {
			t.Errorf("%s: %d jobs need %d MiB, more than %d", c.name, c.jobs, peak(), most)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"plain-10000", plainJobs(10_000)}, {"templated-10000", templatedJobs(10_000)},
	} {
		b.Run(c.name, func(b *testing.B) {
			path := write(b, c.text)
			b.SetBytes(int64(len(c.text)))
			for b.Loop() {
				if _, err := config.Load(context.Background(), path, options()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
