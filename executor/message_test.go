package executor

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// FuzzProgressLine parses any line; what comes out is within the limits.
func FuzzProgressLine(f *testing.F) {
	for _, line := range []string{
		`{"progress":{"path":"a::b","current":1,"total":2,"status":"s"}}`,
		`{"progress":{"path":["a"],"current":1e400,"total":-5}}`,
		`{"log":{"level":"warning","message":"m","attrs":{"a":[1]}}}`, `{"log":{"level":25}}`,
		`{"result":[[]]}`, `{"skip":""}`, `{"retry":{"after":1e308}}`, `{"shared":{"set":"k","value":1,"version":0}}`,
		`{"local":{"get":"k"}}`, `{"call":true}`, `{"fail":5}`, `[]`, ``,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := parseMessage(line)
		if err != nil {
			return
		}
		if m.Progress != nil {
			p := m.Progress.report()
			for _, n := range []*int64{p.Current, p.Total} {
				if n != nil && (*n < 0 || *n > 1<<53) {
					t.Errorf("number %d", *n)
				}
			}
			if len(p.Path) > jobcontrol.MaxProgressDepth {
				t.Errorf("%d deep", len(p.Path))
			}
			// Who records it cuts it, after secrets were replaced.
			if p.Status != m.Progress.Status {
				t.Errorf("status %q was told and is %q", m.Progress.Status, p.Status)
			}
		}
		if m.Log != nil {
			for _, r := range m.Log.records(time.Now()) {
				if len(r.Message) > jobcontrol.MaxLogRecord || len(r.Logger) > maxLogger {
					t.Errorf("record of %d bytes, logger of %d", len(r.Message), len(r.Logger))
				}
				if data, err := json.Marshal(r.Attrs); err != nil || len(data) > maxAttrs {
					t.Errorf("attributes of %d bytes, %v", len(data), err)
				}
			}
		}
		if o := m.outcome(); o != nil && (o.After < 0 || o.After > 365*24*time.Hour) {
			t.Errorf("after %v", o.After)
		}
		if m.Result != nil && !json.Valid(m.Result) {
			t.Errorf("result %q", m.Result)
		}
	})
}
