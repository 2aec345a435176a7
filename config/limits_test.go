package config_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol/config"
)

// TestBombs holds that what is made to use up time or memory is refused at once.
func TestBombs(t *testing.T) {
	aliases := func(levels, width int) string {
		var b strings.Builder
		b.WriteString("jobs:\n- id: a\n  kwargs:\n    a0: &a0 x\n")
		for i := 1; i <= levels; i++ {
			fmt.Fprintf(&b, "    a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), width), ", "))
		}
		return b.String()
	}
	merges := func(levels int) string {
		var b strings.Builder
		b.WriteString("defaults:\n  meta:\n    a0: &a0 {k: 1}\n")
		for i := 1; i <= levels; i++ {
			fmt.Fprintf(&b, "    a%d: &a%d {<<: [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d], k%d: 1}\n",
				i, i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i)
		}
		return b.String() + "jobs: []\n"
	}
	for _, c := range []struct{ name, text, want string }{
		{"aliases", aliases(9, 9), "more than 5 million values if its aliases are expanded"},
		{"long chain of aliases", aliases(2000, 2), "deeper than 64"},
		{"deep chain of aliases", aliases(70, 1), "deeper than 64"},
		{"merge keys", merges(9), "more than 5 million values"},
		{"alias of itself", "jobs:\n- &a\n  id: a\n  kwargs: {x: *a}\n", "leads back"},
		{"merge of itself", "jobs:\n- &a\n  id: a\n  <<: *a\n", "leads back"},
		{"deep flow", "jobs: " + strings.Repeat("[", 1_000_000), "deeper than 64"},
		{"deep block", "jobs:\n" + strings.Repeat("- ", 1_000_000), "deeper than 64"},
		{"deep mappings", "a: " + strings.Repeat("{a: ", 1_000_000), "deeper than 64"},
		{"many values", "jobs:\n" + strings.Repeat("- []\n", 10_000_000), "more than 5 million values"},
		{"many empty items", "jobs: [" + strings.Repeat(",", 30_000_000), "more than 5 million values"},
		{"template: text", "jobs:\n- id: {{ 'a' * 10**10 }}\n", "larger than 64 MiB"},
		{"template: range", "{% for i in range(10**9) %}{% endfor %}", "1,000,000 numbers"},
		{"template: macro", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "200 levels"},
		{"template: values", "jobs:\n{% for i in range(10**5) %}{{ '- []\n' * 100 }}{% endfor %}", "more than 5 million values"},
	} {
		t.Run(c.name, func(t *testing.T) {
			begin := cpu(t)
			_, err := config.Parse(context.Background(), "bomb.yaml", []byte(c.text), options())
			var d config.Diagnostics
			if !errors.As(err, &d) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%.300v, want %s", err, c.want)
			}
			if took := cpu(t) - begin; took > 3*slowdown*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestSlowTemplate holds that loops within loops end after five seconds, with their place.
func TestSlowTemplate(t *testing.T) {
	if testing.Short() {
		t.Skip("needs five seconds")
	}
	text := "jobs:\n{% for i in range(10**5) %}\n{% for j in range(10**5) %}{% for k in range(10**5) %}{% endfor %}{% endfor %}{% endfor %}"
	begin := time.Now()
	_, err := config.Parse(context.Background(), "slow.yaml", []byte(text), options())
	if err == nil || !strings.HasPrefix(err.Error(), "slow.yaml:3:55: template: the template needs more than 5s") {
		t.Errorf("%v", err)
	}
	if took := time.Since(begin); took > 6*time.Second+(slowdown-1)*time.Second {
		t.Errorf("took %v", took)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	begin = time.Now()
	if _, err := config.Parse(ctx, "slow.yaml", []byte(text), options()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("cancelled: %v", err)
	}
	if took := time.Since(begin); took > 2*slowdown*time.Second {
		t.Errorf("cancelled: took %v", took)
	}
}

func TestLargeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large.yaml")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(100<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	begin := cpu(t)
	if _, err := config.Load(context.Background(), path, options()); err == nil || !strings.Contains(err.Error(), "larger than 64 MiB") {
		t.Errorf("%v", err)
	}
	if took := cpu(t) - begin; took > 100*slowdown*time.Millisecond {
		t.Errorf("took %v", took)
	}
	for _, endless := range []string{"/dev/zero"} {
		if _, err := config.Load(context.Background(), endless, options()); err == nil || !strings.Contains(err.Error(), "larger than 64 MiB") {
			t.Errorf("%s: %v", endless, err)
		}
	}
}
