package cli

import (
	"strconv"
	"strings"

	"github.com/jobcontrol/jobcontrol"
)

// httpCode is a request as it will be sent, with its placeholders; {names} stay as
// they are, with what they stand for above it.
func httpCode(h *jobcontrol.HTTP, args []any, kwargs map[string]any) string {
	var b strings.Builder
	for i, v := range args {
		b.WriteString("# {" + strconv.Itoa(i) + "} = " + literal(v) + "\n")
	}
	for _, k := range sortedKeys(kwargs) {
		b.WriteString("# {" + k + "} = " + literal(kwargs[k]) + "\n")
	}
	b.WriteString(h.String())
	if v, err := jobcontrol.DecodeArguments(h.Headers); err == nil {
		headers, _ := v.(map[string]any)
		for _, name := range sortedKeys(headers) {
			b.WriteString("\n" + name + ": " + plainLiteral(headers[name]))
		}
	}
	body := h.Body
	if h.JSON != nil {
		body = h.JSON
	}
	v, err := jobcontrol.DecodeArguments(body)
	switch {
	case body == nil || err != nil:
	case h.JSON != nil:
		b.WriteString("\n\n" + literal(v))
	default:
		b.WriteString("\n\n" + plainLiteral(v))
	}
	return b.String()
}

// plainLiteral is literal, but for a text as it is.
func plainLiteral(v any) string {
	if text, ok := v.(string); ok {
		return text
	}
	return literal(v)
}

// userAgent is how requests of jobs name this program.
func (p Program) userAgent() string {
	return "jobcontrol/" + strings.Trim(p.version(), "()")
}
