//go:build failpoints

package fault

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// An action is what a rule does when it holds.
type action int

const (
	kill action = iota
	stop
	delay
	fail
)

// A rule is one entry of a specification.
type rule struct {
	action action
	delay  time.Duration // of a delay
	at     int           // the only hit it holds at, from 1; 0: every hit
}

// parse reads a specification as the package comment describes it. The rules of a point keep their order.
func parse(spec string) (map[string][]rule, error) {
	rules := map[string][]rule{}
	for entry := range strings.SplitSeq(spec, ";") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		name, r, err := parseRule(entry)
		if err != nil {
			return nil, fmt.Errorf("rule %q: %w", entry, err)
		}
		rules[name] = append(rules[name], r)
	}
	return rules, nil
}

func parseRule(entry string) (name string, r rule, err error) {
	name, act, ok := strings.Cut(entry, "=")
	name, act = strings.TrimSpace(name), strings.TrimSpace(act)
	if !ok {
		return "", rule{}, errors.New("want NAME=ACTION")
	}
	if name == "" || strings.IndexFunc(name, notInName) >= 0 {
		return "", rule{}, fmt.Errorf("bad name %q: want letters, digits and . _ -", name)
	}
	act, at, ok := strings.Cut(act, "@")
	if ok {
		r.at, err = strconv.Atoi(at)
		if err != nil || r.at < 1 {
			return "", rule{}, fmt.Errorf("bad hit %q: want a number from 1 after @", at)
		}
	}
	verb, arg, hasArg := strings.Cut(act, ":")
	switch {
	case verb == "delay":
		r.action = delay
		r.delay, err = time.ParseDuration(arg)
		if err != nil || r.delay <= 0 {
			return "", rule{}, fmt.Errorf("bad delay %q: want a duration above 0, as in delay:200ms", arg)
		}
	case hasArg:
		return "", rule{}, fmt.Errorf("action %q: only delay has an argument", act)
	case verb == "kill":
		r.action = kill
	case verb == "stop":
		r.action = stop
	case verb == "error":
		r.action = fail
	default:
		return "", rule{}, fmt.Errorf("unknown action %q: want kill, stop, delay:DURATION or error", act)
	}
	return name, r, nil
}

func notInName(c rune) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		return false
	}
	return true
}
