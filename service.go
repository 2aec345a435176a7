package jobcontrol

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"
)

// DefaultService is where builds go whose job names no service.
const DefaultService = "default"

// Service is a named queue of a project, with the limits that hold for it on all
// workers together. A service that nobody described has no limits. What draining
// accepts is told at [NewBuild] and [Services].
type Service struct {
	Name           string        `json:"name"`
	Concurrency    int           `json:"concurrency,omitempty"`     // builds claimed at a time; 0: no limit
	Key            []string      `json:"key,omitempty"`             // paths such as kwargs.site, as in [Job.Unique]: builds with equal values share a key
	KeyConcurrency int           `json:"key_concurrency,omitempty"` // builds of one key claimed at a time; 0: no limit
	Rate           int           `json:"rate,omitempty"`            // builds claimed per RatePer, at most so many at once; 0: no limit
	RatePer        time.Duration `json:"rate_per,omitempty"`        // nanoseconds; 0: a second
	Priority       int           `json:"priority,omitempty"`        // added to that of each build when it is made
	Fallback       string        `json:"fallback,omitempty"`        // a build that exceeded its soft timeout gets one extra try there
	Paused         bool          `json:"paused,omitempty"`          // nothing is claimed
	Draining       bool          `json:"draining,omitempty"`        // nothing new is accepted; what is there is still executed
	Manual         bool          `json:"manual,omitempty"`          // set at run time: a file that is loaded later does not change it
}

// RatePerOrDefault is RatePer, or a second where it is not set.
func (s *Service) RatePerOrDefault() time.Duration {
	if s.RatePer > 0 {
		return s.RatePer
	}
	return time.Second
}

// Limited tells whether a claim has to count what others have claimed.
func (s *Service) Limited() bool {
	return s.Concurrency > 0 || s.KeyConcurrency > 0 || s.Rate > 0
}

// Check returns an error that names what is wrong with the service.
func (s *Service) Check() error {
	if err := CheckName("service", s.Name); err != nil {
		return err
	}
	bad := func(format string, args ...any) error {
		e := Errorf(Invalid, format, args...)
		e.Message = "service " + s.Name + ": " + e.Message
		return e
	}
	switch {
	case s.Concurrency < 0:
		return bad("concurrency must not be negative")
	case s.KeyConcurrency < 0:
		return bad("key_concurrency must not be negative")
	case s.KeyConcurrency > 0 && len(s.Key) == 0:
		return bad("key_concurrency needs a key, such as key: [kwargs.site]")
	case s.Rate < 0 || s.RatePer < 0:
		return bad("rate must not be negative")
	case s.Priority < -32768 || s.Priority > 32767:
		return bad("priority %d is not between -32768 and 32767", s.Priority)
	case s.Fallback == s.Name:
		return bad("it cannot be its own fallback")
	case s.Fallback != "":
		return CheckName("service", s.Fallback)
	}
	return nil
}

// DescribedAs is the description that a service is reset to, under its name; nil: none.
func DescribedAs(name string, as *Service) (*Service, error) {
	if as == nil {
		return nil, nil
	}
	s := *as
	s.Name, s.Manual = cmp.Or(name, DefaultService), false
	return &s, s.Check()
}

// CheckServices returns an error unless every service is valid, named once, and
// no chain of fallbacks is circular (Launchpad: "Circular chain of fallback queues").
func CheckServices(services []Service) error {
	next := map[string]string{}
	for i := range services {
		s := &services[i]
		if err := s.Check(); err != nil {
			return err
		}
		if _, twice := next[s.Name]; twice {
			return Errorf(Invalid, "service %s is described twice", s.Name)
		}
		next[s.Name] = s.Fallback
	}
	for i := range services {
		chain := []string{services[i].Name}
		for to := services[i].Fallback; to != ""; to = next[to] {
			if slices.Contains(chain, to) {
				return Errorf(Invalid, "circular chain of fallback services: %s already in [%s]", to, strings.Join(chain, ", "))
			}
			chain = append(chain, to)
		}
	}
	return nil
}

// ServiceStatus is a service and how many builds it has.
type ServiceStatus struct {
	Service
	Waiting   int `json:"waiting"` // for dependencies, or held or suspended
	Scheduled int `json:"scheduled"`
	Queued    int `json:"queued"`  // not claimed
	Claimed   int `json:"claimed"` // claimed and not marked as running
	Running   int `json:"running"`
}

// indexed finds the numbers in paths such as args.0.
var indexed = regexp.MustCompile(`\.([0-9]+)`)

// argumentKey is the hash of the values that paths select from the arguments;
// "*" is all of them. A path that leads nowhere selects null.
func argumentKey(scope string, paths []string, args, kwargs EncodedArguments) (string, error) {
	h := sha256.New()
	h.Write([]byte(scope))
	if slices.Contains(paths, "*") {
		paths = []string{"args", "kwargs"}
	}
	list, err := decodeList(args)
	if err != nil {
		return "", err
	}
	m, err := decodeMap(kwargs)
	if err != nil {
		return "", err
	}
	if list == nil {
		list = []any{}
	}
	if m == nil {
		m = map[string]any{}
	}
	all := map[string]any{"args": list, "kwargs": m}
	for _, p := range paths {
		v, err := Lookup(all, indexed.ReplaceAllString(p, "[$1]"))
		if err != nil {
			if v, err = Lookup(all, p); err != nil {
				v = nil
			}
		}
		data, err := json.Marshal(v)
		if err != nil {
			return "", err
		}
		h.Write([]byte{0})
		h.Write(data)
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}
