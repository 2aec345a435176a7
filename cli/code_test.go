package cli

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jobcontrol/jobcontrol"
)

func TestCode(t *testing.T) {
	reg := jobcontrol.NewRegistry()
	jobcontrol.Handle(reg, "mycrawler:process", func(context.Context, jobcontrol.Arguments) (jobcontrol.None, error) {
		return jobcontrol.None{}, nil
	})
	for _, c := range []struct {
		name string
		job  jobcontrol.Job
		want string
	}{
		{
			"a function, its keyword arguments sorted",
			jobcontrol.Job{
				Run: &jobcontrol.Task{Function: "mycrawler:process"}, Args: []any{"http://x", int64(2)},
				Kwargs: map[string]any{"z": nil, "input": jobcontrol.Retval{Job: "crawl"}, "key": jobcontrol.Secret{Name: "k"}},
			},
			"# run\nmycrawler:process(\n    \"http://x\",\n    2,\n    input=!retval crawl,\n    key=!secret k,\n    z=null)",
		},
		{
			"a function without arguments",
			jobcontrol.Job{Run: &jobcontrol.Task{Function: "mycrawler:process"}},
			"# run\nmycrawler:process()",
		},
		{
			"a function that there is not",
			jobcontrol.Job{Run: &jobcontrol.Task{Function: "my:f"}},
			"# run\n# Invalid function: my:f is not registered in this program\nmy:f()",
		},
		{
			"a script and a command",
			jobcontrol.Job{
				Check: &jobcontrol.Task{Command: []string{"test", "-e", "a file"}}, Run: &jobcontrol.Task{Shell: "touch 'a file'\n"},
				Kwargs: map[string]any{"n": int64(1)},
			},
			"# check\n# n = 1\ntest -e 'a file'\n# run\n# n = 1\ntouch 'a file'",
		},
		{
			"arguments of a task of its own",
			jobcontrol.Job{
				Run: &jobcontrol.Task{
					Function: "mycrawler:process", Args: []byte(`[{"$retval":{"job":"crawl","path":"pages[0]"}}]`), Kwargs: []byte(`{"n":1}`),
				},
				Args: []any{"not", "these"},
			},
			"# run\nmycrawler:process(\n    !retval crawl.pages[0],\n    n=1)",
		},
		{"nothing", jobcontrol.Job{}, "# nothing: it only has dependencies"},
	} {
		if diff := cmp.Diff(c.want, code(&c.job, reg)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestSignature(t *testing.T) {
	reg := jobcontrol.NewRegistry()
	type input struct {
		URL   string `json:"url"`
		Depth int    `json:"depth,omitempty"`
	}
	jobcontrol.Handle(reg, "crawl", func(context.Context, input) (jobcontrol.None, error) { return jobcontrol.None{}, nil })
	f, _ := reg.Lookup("crawl")
	if got, want := signature(f), "crawl(url string, [depth int])"; got != want {
		t.Errorf("signature = %q, want %q", got, want)
	}
}

func TestShellWord(t *testing.T) {
	for in, want := range map[string]string{"": "''", "a-b": "a-b", "a b": "'a b'", "it's": `'it'\''s'`, "$x": "'$x'"} {
		if got := shellWord(in); got != want {
			t.Errorf("shellWord(%q) = %s, want %s", in, got, want)
		}
	}
}
