package template

import (
	"math"
	"math/big"
	"slices"
	"strings"

	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// The largest text and list that one operation may make.
const (
	maxText    = 64 << 20
	maxNumbers = 1_000_000
)

// arithmetic executes + - * / // % and ** as Python does: gonja takes one half of the
// wrong types for zero, and divides by it.
func (e *engine) arithmetic(ev *exec.Evaluator, s *site) *exec.Value {
	n := s.expr.(*nodes.BinaryExpression)
	l := ev.Eval(n.Left)
	if l.IsError() {
		return l
	}
	r := ev.Eval(n.Right)
	if r.IsError() {
		return r
	}
	op := n.Operator.Token
	at := &site{token: op, source: s.source}
	switch {
	case l.IsInteger() && r.IsInteger():
		return e.integers(at, op.Type, l.Integer(), r.Integer())
	case l.IsNumber() && r.IsNumber():
		return e.floats(at, op.Type, l.Float(), r.Float())
	case op.Type == tokens.Addition && l.IsString() && r.IsString():
		e.fits(at, len(l.String())+len(r.String()), maxText, "text")
		return exec.AsValue(l.String() + r.String())
	case op.Type == tokens.Addition && l.IsList() && r.IsList():
		return exec.AsValue(slices.Concat(items(l), items(r)))
	case op.Type == tokens.Modulo && l.IsString():
		values := []any{r.Interface()}
		if r.IsList() {
			values = items(r)
		}
		text, err := format(l.String(), values)
		if err != nil {
			panic(at.source.errorAt(op, "%v", err))
		}
		return exec.AsValue(text)
	case op.Type == tokens.Multiply && (l.IsString() || l.IsList()) && r.IsInteger():
		return e.repeat(at, l, r.Integer())
	case op.Type == tokens.Multiply && l.IsInteger() && (r.IsString() || r.IsList()):
		return e.repeat(at, r, l.Integer())
	}
	err := at.source.errorAt(op, "%s %s %s does not work", kindOf(l), op.Val, kindOf(r))
	if op.Type == tokens.Addition && (l.IsString() || r.IsString()) {
		err.Hint = "~ joins values as texts"
	}
	panic(err)
}

func (e *engine) integers(at *site, op tokens.Type, a, b int) *exec.Value {
	x, y, z := big.NewInt(int64(a)), big.NewInt(int64(b)), new(big.Int)
	switch op {
	case tokens.Addition:
		z.Add(x, y)
	case tokens.Subtraction:
		z.Sub(x, y)
	case tokens.Multiply:
		z.Mul(x, y)
	case tokens.Power:
		if b < 0 || a != 0 && a != 1 && a != -1 && b > 64 {
			return e.floats(at, op, float64(a), float64(b))
		}
		z.Exp(x, y, nil)
	default:
		if b == 0 {
			panic(at.source.errorAt(at.token, "division by zero"))
		}
		if op == tokens.Division {
			return exec.AsValue(float64(a) / float64(b))
		}
		m := new(big.Int)
		z.DivMod(x, y, m) // Euclidean: the remainder is never negative
		if m.Sign() != 0 && b < 0 {
			z.Sub(z, big.NewInt(1))
			m.Add(m, y)
		}
		if op == tokens.Modulo {
			z = m
		}
	}
	if !z.IsInt64() {
		panic(at.source.errorAt(at.token, "the result does not fit into 64 bits"))
	}
	return exec.AsValue(int(z.Int64()))
}

func (e *engine) floats(at *site, op tokens.Type, a, b float64) *exec.Value {
	if b == 0 && (op == tokens.Division || op == tokens.FloorDivision || op == tokens.Modulo) {
		panic(at.source.errorAt(at.token, "division by zero"))
	}
	var z float64
	switch op {
	case tokens.Addition:
		z = a + b
	case tokens.Subtraction:
		z = a - b
	case tokens.Multiply:
		z = a * b
	case tokens.Division:
		z = a / b
	case tokens.FloorDivision:
		z = math.Floor(a / b)
	case tokens.Modulo:
		z = a - b*math.Floor(a/b)
	case tokens.Power:
		z = math.Pow(a, b)
	}
	if math.IsInf(z, 0) || math.IsNaN(z) {
		panic(at.source.errorAt(at.token, "the result is no number"))
	}
	return exec.AsValue(z)
}

func (e *engine) repeat(at *site, v *exec.Value, n int) *exec.Value {
	n = max(n, 0)
	if v.IsString() {
		text := v.String()
		if len(text) > 0 {
			e.fits(at, n, maxText/len(text), "text")
		}
		return exec.AsValue(strings.Repeat(text, n))
	}
	list := items(v)
	if len(list) > 0 {
		e.fits(at, n, maxNumbers/len(list), "list")
	}
	return exec.AsValue(slices.Repeat(list, n))
}

// fits stops the rendering where one operation would make too much.
func (e *engine) fits(at *site, n, limit int, what string) {
	if n <= limit {
		return
	}
	if what == "text" {
		panic(at.source.errorAt(at.token, "the result is larger than 64 MiB"))
	}
	panic(at.source.errorAt(at.token, "the result has more than 1,000,000 items"))
}

// numbers is range().
func (e *engine) numbers(_ *exec.Evaluator, va *exec.VarArgs) *exec.Value {
	from, to, step := 0, 0, 1
	for _, a := range va.Args {
		if !a.IsInteger() {
			panic(e.rough("range() takes whole numbers, not %s", kindOf(a)))
		}
	}
	switch len(va.Args) {
	case 1:
		to = va.Args[0].Integer()
	case 2, 3:
		from, to = va.Args[0].Integer(), va.Args[1].Integer()
		if len(va.Args) == 3 {
			step = va.Args[2].Integer()
		}
	default:
		panic(e.rough("range() takes one to three numbers"))
	}
	if step == 0 {
		panic(e.rough("the step of range() must not be 0"))
	}
	count := math.Ceil((float64(to) - float64(from)) / float64(step))
	if count > maxNumbers {
		panic(e.rough("range() has more than 1,000,000 numbers"))
	}
	list := make([]int, 0, max(int(count), 0))
	for i := range max(int(count), 0) {
		list = append(list, from+i*step)
	}
	return exec.AsValue(list)
}

// dict is dict(): its order is that of the names.
func dict(_ *exec.Evaluator, va *exec.VarArgs) *exec.Value {
	d := exec.NewDict()
	names := make([]string, 0, len(va.KwArgs))
	for k := range va.KwArgs {
		names = append(names, k)
	}
	slices.Sort(names)
	for _, k := range names {
		d.Pairs = append(d.Pairs, &exec.Pair{Key: exec.AsValue(k), Value: va.KwArgs[k]})
	}
	return exec.AsValue(d)
}

// list evaluates a list and stops the rendering where an element of it is undefined.
func (e *engine) list(ev *exec.Evaluator, s *site) *exec.Value {
	v := ev.Eval(s.expr)
	if list, ok := v.Interface().(exec.ValuesList); ok {
		for _, item := range list {
			if item.IsError() {
				panic(e.failure(s, item))
			}
		}
	}
	return v
}

// iterable evaluates what a for goes over.
func (e *engine) iterable(ev *exec.Evaluator, s *site) *exec.Value {
	v := ev.Eval(s.expr)
	switch {
	case v.IsError() || v.IsList() || v.IsDict():
		return v
	case v.IsString():
		return exec.AsValue(strings.Split(v.String(), ""))
	}
	panic(s.source.errorAt(s.token, "for needs a list, a mapping or a text, not %s", kindOf(v)))
}

// items are the elements of a list.
func items(v *exec.Value) []any {
	out := make([]any, 0, v.Len())
	for i := range v.Len() {
		out = append(out, v.Index(i).Interface())
	}
	return out
}

func kindOf(v *exec.Value) string {
	switch {
	case v.IsNil():
		return "none"
	case v.IsString():
		return "a text"
	case v.IsBool():
		return "a boolean"
	case v.IsNumber():
		return "a number"
	case v.IsDict():
		return "a mapping"
	case v.IsList():
		return "a list"
	case v.IsCallable():
		return "a function"
	}
	return "a value of another kind"
}
