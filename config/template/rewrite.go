package template

import (
	"errors"
	"reflect"

	structures "github.com/nikolalohinski/gonja/v2/builtins/control_structures"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// site is a place in a template that the engine executes itself.
type site struct {
	kind   siteKind
	expr   nodes.Expression
	token  *tokens.Token
	source *source
}

type siteKind int

const (
	plainSite      siteKind = iota // note the place of an error
	arithmeticSite                 // + - * / // % **
	listSite                       // no element may be undefined
	iterableSite                   // what a for goes over
	conditionSite                  // the if of a for
	notSite                        // not
)

// siteFunction is the name under which the engine is called; no template can spell it.
const siteFunction = "%"

// rewriter replaces expressions of a parsed template by calls of the engine.
type rewriter struct {
	engine *engine
	source *source
	seen   map[any]bool
}

// site makes a call of the engine that stands for an expression.
func (w *rewriter) site(kind siteKind, x nodes.Expression, token *tokens.Token) nodes.Expression {
	e := w.engine
	e.sites = append(e.sites, &site{kind, x, token, w.source})
	return &nodes.Call{
		Location: token,
		Func:     &nodes.Name{Name: &tokens.Token{Type: tokens.Name, Val: siteFunction, Line: token.Line, Col: token.Col}},
		Args:     []nodes.Expression{&nodes.Integer{Location: token, Val: len(e.sites) - 1}},
	}
}

// visit executes a site.
func (e *engine) visit(ev *exec.Evaluator, va *exec.VarArgs) *exec.Value {
	s := e.sites[va.Args[0].Integer()]
	switch s.kind {
	case arithmeticSite:
		return e.arithmetic(ev, s)
	case listSite:
		return e.list(ev, s)
	case iterableSite:
		return e.iterable(ev, s)
	case conditionSite:
		v := ev.Eval(s.expr)
		if v.IsError() {
			panic(e.failure(s, v))
		}
		return v
	case notSite:
		v := ev.Eval(s.expr)
		if v.IsError() {
			return v
		}
		return exec.AsValue(!v.IsTrue())
	}
	return e.watch(ev, s)
}

// template prepares a whole template.
func (w *rewriter) template(t *nodes.Template) {
	for ; t != nil; t = t.Parent {
		w.source = w.engine.sources[t.Identifier]
		t.Nodes = w.list(t.Nodes)
		for _, b := range t.Blocks {
			w.wrapper(b)
		}
	}
}

// list prepares nodes that are executed one after the other. In front of what may take
// long or much memory it puts a note of the place, for the watchdog.
func (w *rewriter) list(list []nodes.Node) []nodes.Node {
	busy := 0
	for _, n := range list {
		switch n := n.(type) {
		case *nodes.Data:
			n.Data.Val = w.source.restore(n.Data.Val)
		case *nodes.Output:
			if isBusy(n.Expression) {
				busy++
			}
			n.Expression, n.Condition, n.Alternative = w.slot(n.Expression), w.slot(n.Condition), w.slot(n.Alternative)
		case *nodes.ControlStructureBlock:
			busy++
			w.structure(n.ControlStructure)
		}
	}
	if busy == 0 {
		return list
	}
	out := make([]nodes.Node, 0, len(list)+busy)
	for _, n := range list {
		switch n := n.(type) {
		case *nodes.Output:
			if isBusy(n.Expression) {
				out = append(out, w.note(tokenOf(n.Expression), false))
			}
		case *nodes.ControlStructureBlock:
			out = append(out, w.note(n.Location, false))
		}
		out = append(out, n)
	}
	return out
}

func isBusy(x nodes.Expression) bool {
	switch x.(type) {
	case *nodes.FilteredExpression, *nodes.Call:
		return true
	}
	return false
}

func (w *rewriter) wrapper(b *nodes.Wrapper) {
	if b == nil || w.seen[b] {
		return
	}
	w.seen[b] = true
	b.Nodes = w.list(b.Nodes)
}

// body prepares what may be executed again and again: it begins with a look at the clock.
func (w *rewriter) body(b *nodes.Wrapper) {
	if b == nil || w.seen[b] {
		return
	}
	w.wrapper(b)
	b.Nodes = append([]nodes.Node{w.note(b.Location, true)}, b.Nodes...)
}

// note makes a node that notes that a place is executed, and may look at the clock.
func (w *rewriter) note(token *tokens.Token, clock bool) nodes.Node {
	t := &tick{w.engine, site{token: token, source: w.source}, clock}
	return &nodes.ControlStructureBlock{Location: token, Name: "tick", ControlStructure: t}
}

// slot prepares an expression that stands alone, such as what is printed or an argument.
func (w *rewriter) slot(x nodes.Expression) nodes.Expression {
	if x == nil {
		return nil
	}
	x = w.expression(x)
	if !w.engine.precise {
		return x
	}
	switch x.(type) {
	case *nodes.String, *nodes.Integer, *nodes.Float, *nodes.Bool, *nodes.None, *nodes.Error:
		return x
	}
	return w.site(plainSite, x, tokenOf(x))
}

// expression prepares what is below x and returns what takes its place.
func (w *rewriter) expression(x nodes.Expression) nodes.Expression {
	switch n := x.(type) {
	case *nodes.Name:
		if n.Name.Val == "self" { // a block that executes itself overflows the stack
			return &nodes.Error{Location: n.Name, Error: errors.New("self is not available")}
		}
	case *nodes.BinaryExpression:
		token := tokenOf(n)
		n.Left, n.Right = w.slot(n.Left), w.slot(n.Right)
		switch n.Operator.Token.Type {
		case tokens.Addition, tokens.Subtraction, tokens.Multiply, tokens.Division,
			tokens.FloorDivision, tokens.Modulo, tokens.Power:
			return w.site(arithmeticSite, n, token)
		}
	case *nodes.UnaryExpression:
		n.Term = w.slot(n.Term)
	case *nodes.Negation:
		return w.site(notSite, w.slot(n.Term), n.Operator)
	case *nodes.List:
		w.slots(n.Val, nil)
		return w.site(listSite, n, n.Location)
	case *nodes.Tuple:
		w.slots(n.Val, nil)
		return w.site(listSite, n, n.Location)
	case *nodes.Dict:
		for _, p := range n.Pairs {
			w.pair(p)
		}
	case *nodes.Pair:
		w.pair(n)
	case *nodes.Call:
		w.call(n)
	case *nodes.GetItem:
		n.Node, n.Arg = w.expression(n.Node), w.slot(n.Arg)
	case *nodes.GetAttribute:
		n.Node = w.expression(n.Node)
	case *nodes.GetSlice:
		n.Node, n.Start, n.End, n.Step = w.expression(n.Node), w.slot(n.Start), w.slot(n.End), w.slot(n.Step)
	case *nodes.FilteredExpression:
		n.Expression = w.slot(n.Expression)
		for _, f := range n.Filters {
			w.slots(f.Args, f.Kwargs)
		}
	case *nodes.TestExpression:
		n.Expression = w.slot(n.Expression)
		w.slots(n.Test.Args, n.Test.Kwargs)
	}
	return x
}

func (w *rewriter) slots(list []nodes.Expression, byName map[string]nodes.Expression) {
	for i := range list {
		list[i] = w.slot(list[i])
	}
	for k := range byName {
		byName[k] = w.slot(byName[k])
	}
}

func (w *rewriter) pair(p *nodes.Pair) { p.Key, p.Value = w.slot(p.Key), w.slot(p.Value) }

func (w *rewriter) call(n *nodes.Call) {
	w.slots(n.Args, n.Kwargs)
	f, ok := n.Func.(*nodes.GetAttribute)
	if !ok {
		return
	}
	same := n.Parent == f.Node
	f.Node = w.expression(f.Node)
	if same {
		n.Parent = f.Node
	}
}

// structure prepares a control structure.
func (w *rewriter) structure(cs nodes.ControlStructure) {
	if w.seen[cs] {
		return
	}
	w.seen[cs] = true
	switch cs := cs.(type) {
	case *structures.ForControlStructure:
		cs.ObjectEvaluator = w.site(iterableSite, w.slot(cs.ObjectEvaluator), tokenOf(cs.ObjectEvaluator))
		if cs.IfCondition != nil {
			cs.IfCondition = w.site(conditionSite, w.slot(cs.IfCondition), tokenOf(cs.IfCondition))
		}
		w.body(cs.BodyWrapper)
		w.wrapper(cs.EmptyWrapper)
	case *structures.IfControlStructure:
		w.slots(cs.Conditions, nil)
		for _, b := range cs.Wrappers {
			w.wrapper(b)
		}
	case *macro:
		for _, p := range cs.Kwargs {
			if _, required := p.Value.(*nodes.Error); !required {
				p.Value = w.slot(p.Value)
			}
		}
		w.body(cs.Wrapper)
	case *structures.CallControlStructure:
		w.call(cs.Call)
		w.body(cs.Body)
	default:
		if v := reflect.ValueOf(cs); v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct {
			w.fields(v.Elem())
		}
	}
}

// fields prepares the expressions of a control structure of gonja whose fields are its own.
func (w *rewriter) fields(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		if !f.CanAddr() {
			continue
		}
		switch p := reflect.NewAt(f.Type(), f.Addr().UnsafePointer()).Interface().(type) {
		case *nodes.Expression:
			if v.Type().Field(i).Name == "target" && *p != nil { // of a set: it is not evaluated
				w.expression(*p)
			} else {
				*p = w.slot(*p)
			}
		case *[]nodes.Expression:
			w.slots(*p, nil)
		case *map[string]nodes.Expression:
			w.slots(nil, *p)
		case **nodes.Wrapper:
			w.wrapper(*p)
		case **nodes.Data: // of raw
			(*p).Data.Val = w.source.restore((*p).Data.Val)
		case *[]*nodes.FilterCall:
			for _, f := range *p {
				w.slots(f.Args, f.Kwargs)
			}
		}
	}
}

// tokenOf is where an expression begins.
func tokenOf(x nodes.Expression) *tokens.Token {
	switch n := x.(type) {
	case *nodes.BinaryExpression:
		return tokenOf(n.Left)
	case *nodes.FilteredExpression:
		return tokenOf(n.Expression)
	case *nodes.TestExpression:
		return tokenOf(n.Expression)
	case *nodes.GetAttribute:
		return tokenOf(n.Node)
	case *nodes.GetItem:
		return tokenOf(n.Node)
	case *nodes.GetSlice:
		return tokenOf(n.Node)
	case *nodes.Call:
		if f, ok := n.Func.(nodes.Expression); ok && n.Func != nil {
			return tokenOf(f)
		}
	}
	if t := x.Position(); t != nil {
		return t
	}
	return &tokens.Token{}
}

// tick notes the place that is executed; once per turn of a loop and call of a macro it
// looks at the clock.
type tick struct {
	engine *engine
	site   site
	clock  bool
}

// Position is the place.
func (t *tick) Position() *tokens.Token { return t.site.token }

// String names the structure.
func (t *tick) String() string { return "tick" }

// Execute stops the rendering where its time is over.
func (t *tick) Execute(*exec.Renderer, *nodes.ControlStructureBlock) error {
	t.engine.now.Store(&t.site)
	if t.clock {
		t.engine.check()
	}
	return nil
}
