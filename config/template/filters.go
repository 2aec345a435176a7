package template

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/exec"
)

// filters are those of gonja, and in place of two that differ from Jinja2 our own.
func filters() *exec.FilterSet {
	set := exec.NewFilterSet(map[string]exec.FilterFunction{}).Update(builtins.Filters)
	own := exec.NewFilterSet(map[string]exec.FilterFunction{"format": filterFormat, "dictsort": filterDictsort})
	return set.Update(own)
}

func filterFormat(_ *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
	if in.IsError() {
		return in
	}
	values := make([]any, len(params.Args))
	for i, a := range params.Args {
		values[i] = a.Interface()
	}
	text, err := format(in.String(), values)
	if err != nil {
		return exec.AsValue(err)
	}
	return exec.AsValue(text)
}

// format is Python's % for texts.
func format(pattern string, values []any) (string, error) {
	var out strings.Builder
	for pattern != "" {
		i := strings.IndexByte(pattern, '%')
		if i < 0 {
			break
		}
		out.WriteString(pattern[:i])
		end := i + 1
		for end < len(pattern) && strings.IndexByte("-+ #0123456789.", pattern[end]) >= 0 {
			end++
		}
		if end == len(pattern) {
			return "", fmt.Errorf("the format %q is incomplete", pattern[i:])
		}
		flags, verb := pattern[i:end], pattern[end]
		pattern = pattern[end+1:]
		if verb == '%' {
			out.WriteByte('%')
			continue
		}
		if len(values) == 0 {
			return "", fmt.Errorf("the format has more places than values")
		}
		text, err := formatOne(flags, verb, exec.ToValue(values[0]))
		if err != nil {
			return "", err
		}
		out.WriteString(text)
		values = values[1:]
	}
	if len(values) > 0 {
		return "", fmt.Errorf("the format has fewer places than values")
	}
	out.WriteString(pattern)
	return out.String(), nil
}

func formatOne(flags string, verb byte, v *exec.Value) (string, error) {
	switch verb {
	case 's':
		return fmt.Sprintf(flags+"s", v.String()), nil
	case 'd', 'i', 'u':
		if v.IsNumber() {
			return fmt.Sprintf(flags+"d", v.Integer()), nil
		}
	case 'x', 'X', 'o', 'c':
		if v.IsInteger() {
			return fmt.Sprintf(flags+string(verb), v.Integer()), nil
		}
	case 'f', 'F', 'e', 'E', 'g', 'G':
		if v.IsNumber() {
			return fmt.Sprintf(flags+string(verb), v.Float()), nil
		}
	default:
		return "", fmt.Errorf("the format %%%c is unknown", verb)
	}
	return "", fmt.Errorf("the format %%%c needs a number, not %s", verb, kindOf(v))
}

// filterDictsort makes a list of names and values, sorted by name, or by value where
// the second argument is "value"; upper and lower case are one unless the first one is true.
func filterDictsort(_ *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
	if in.IsError() {
		return in
	}
	var strict, reverse bool
	var by string
	if err := params.Take(
		exec.KeywordArgument("case_sensitive", exec.AsValue(false), exec.BoolArgument(&strict)),
		exec.KeywordArgument("by", exec.AsValue("key"), exec.StringArgument(&by)),
		exec.KeywordArgument("reverse", exec.AsValue(false), exec.BoolArgument(&reverse)),
	); err != nil {
		return exec.AsValue(err)
	}
	pairs := [][]any{}
	in.Iterate(func(_, _ int, key, value *exec.Value) bool {
		pairs = append(pairs, []any{key.Interface(), value.Interface()})
		return true
	}, func() {})
	at := 0
	if by == "value" {
		at = 1
	}
	slices.SortStableFunc(pairs, func(a, b []any) int {
		c := compare(exec.ToValue(a[at]), exec.ToValue(b[at]), strict)
		if reverse {
			return -c
		}
		return c
	})
	return exec.AsValue(pairs)
}

func compare(a, b *exec.Value, strict bool) int {
	if a.IsNumber() && b.IsNumber() {
		switch x, y := a.Float(), b.Float(); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	}
	if strict {
		return strings.Compare(a.String(), b.String())
	}
	return strings.Compare(strings.ToLower(a.String()), strings.ToLower(b.String()))
}
