package jobcontrol

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestModelStates: the picture of a build's states in docs/model.md has every transition, and none that there is not.
func TestModelStates(t *testing.T) {
	data, err := os.ReadFile("docs/model.md")
	if err != nil {
		t.Fatal(err)
	}
	_, picture, _ := strings.Cut(string(data), "\nstateDiagram-v2\n")
	picture, _, _ = strings.Cut(picture, "```")
	states := func(name string) []State {
		if name == "ready" {
			return []State{Waiting, Scheduled, Queued}
		}
		s, err := ParseState(name)
		if err != nil {
			t.Error(err)
		}
		return []State{s}
	}
	seen := map[Transition]bool{}
	for _, m := range regexp.MustCompile(`(\w+) --> (\w+) : (\w+)`).FindAllStringSubmatch(picture, -1) {
		how := Transition(m[3])
		seen[how] = true
		allowed := slices.ContainsFunc(states(m[1]), func(from State) bool {
			return slices.ContainsFunc(states(m[2]), func(to State) bool { return how.Check(from, to) == nil })
		})
		if !allowed {
			t.Errorf("there is no %s", m[0])
		}
	}
	for how := range Transitions {
		if !seen[how] {
			t.Errorf("the picture lacks %s", how)
		}
	}
	for m, s := range stateNames {
		if s != "" && !strings.Contains(picture, s) {
			t.Errorf("the picture lacks %s", State(m))
		}
	}
}
