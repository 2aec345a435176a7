//go:build linux

package chaos

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"regexp"
	"strings"
)

// messages reads messages of PostgreSQL's protocol: a kind, a length, a body.
type messages struct {
	r        io.Reader
	greeting bool // a server may answer a wish for encryption with one byte first
}

// next returns the next message; raw is all of it.
func (m *messages) next() (kind byte, body, raw []byte, err error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(m.r, head[:1]); err != nil {
		return 0, nil, nil, err
	}
	if m.greeting {
		m.greeting = false
		if head[0] == 'N' || head[0] == 'S' {
			return 0, nil, head[:1], nil
		}
	}
	if _, err := io.ReadFull(m.r, head[1:]); err != nil {
		return 0, nil, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n < 4 || n > 1<<30 {
		return 0, nil, nil, errors.New("not a message")
	}
	raw = append(head, make([]byte, n-4)...)
	if _, err := io.ReadFull(m.r, raw[5:]); err != nil {
		return 0, nil, nil, err
	}
	return raw[0], raw[5:], raw, nil
}

// commits tells whether a message makes the server commit: COMMIT itself, or,
// outside of a transaction, the end of something that writes.
func (l *link) commits(kind byte, body []byte) bool {
	switch kind {
	case 'Q':
		text := cString(body)
		l.did(text)
		return isCommit(text) || l.outside() && writes(text)
	case 'P':
		name := cString(body)
		l.names[name] = cString(body[len(name)+1:])
	case 'B':
		portal := cString(body)
		l.portals[portal] = l.names[cString(body[len(portal)+1:])]
	case 'E':
		text := l.portals[cString(body)]
		l.pending += text + ";"
		l.did(text)
		return isCommit(text)
	case 'S':
		text := l.pending
		l.pending = ""
		return l.outside() && !strings.Contains(strings.ToLower(text), "commit") && writes(text)
	}
	return false
}

// change finds what a statement changes; locks are none.
var (
	change = regexp.MustCompile(`(?i)\b(insert into|update|delete from|copy)\s+(?:"?\w+"?\.)?"?(\w+)`)
	locks  = regexp.MustCompile(`(?i)\bfor (?:no key )?update\b`)
)

// did notes what a statement changes, if it is the first of its transaction to change something.
func (l *link) did(text string) {
	if l.deed != "" {
		return
	}
	if m := change.FindStringSubmatch(locks.ReplaceAllString(text, "")); m != nil {
		l.deed = strings.ToLower(m[1] + " " + m[2])
	}
}

// outside tells whether no transaction is open: everything that was forwarded is
// answered, and the last answer said so.
func (l *link) outside() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status == 'I' && l.sent == l.done
}

func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return string(b[:i])
	}
	return string(b)
}

func isCommit(text string) bool {
	text = strings.ToLower(strings.TrimSpace(text))
	return strings.HasPrefix(text, "commit") || strings.HasPrefix(text, "end;") || text == "end" || strings.HasSuffix(text, "; commit") || strings.HasSuffix(text, ";commit")
}

// writes tells whether SQL contains a statement that changes something.
func writes(text string) bool {
	text = strings.ToLower(text)
	for _, verb := range []string{"insert into", "update ", "delete from", "copy "} {
		if strings.Contains(text, verb) && !strings.Contains(text, "begin") {
			return true
		}
	}
	return false
}
