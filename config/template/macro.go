package template

import (
	"fmt"

	structures "github.com/nikolalohinski/gonja/v2/builtins/control_structures"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// How deep macros and included files may call each other.
const (
	maxMacros   = 200
	maxIncludes = 50
)

// callerName is the name under which gonja keeps the body of a call for its macro.
const callerName = "__gonja_caller__"

// structures are the tags: those of gonja with their places noted, and those of the engine.
func (e *engine) structures() *exec.ControlStructureSet {
	set := map[string]parser.ControlStructureParser{}
	for _, name := range tagNames {
		if parse, ok := structures.All.Get(name); ok {
			set[name] = e.noted(name, parse)
		}
	}
	set["macro"] = e.noted("macro", e.parseMacro)
	set["extends"] = e.noted("extends", e.parseExtends)
	for _, name := range []string{"include", "import", "from"} {
		set[name] = e.noted(name, e.parseReference(name))
	}
	return exec.NewControlStructureSet(set)
}

var tagNames = []string{
	"autoescape", "block", "break", "call", "continue", "do", "extends", "filter", "for", "from", "if", "import",
	"include", "macro", "raw", "set", "trans", "with",
}

// source is the source that is being parsed.
func (e *engine) source() *source { return e.reading[len(e.reading)-1] }

// noted makes the errors of a parser tell where the innermost tag is that it failed in.
func (e *engine) noted(name string, parse parser.ControlStructureParser) parser.ControlStructureParser {
	return func(p, args *parser.Parser) (nodes.ControlStructure, error) {
		at := args.Current()
		if at == nil || at.Line == 0 || at.Type == tokens.EOF {
			at = p.Current()
		}
		cs, err := parse(p, args)
		if err != nil {
			panic(e.tagError(e.source(), name, at, err))
		}
		return cs, nil
	}
}

// parseExtends parses the extended file as what is being read.
func (e *engine) parseExtends(p, args *parser.Parser) (nodes.ControlStructure, error) {
	parse, _ := structures.All.Get("extends")
	name := args.Current()
	if name == nil || name.Type != tokens.String {
		return nil, args.Error("extends needs the name of a file", name)
	}
	text, err := e.read(name.Val)
	if err != nil {
		return nil, err
	}
	if _, err := e.prepare(name.Val, name.Val, text); err != nil {
		return nil, err
	}
	if len(e.reading) > maxIncludes {
		return nil, fmt.Errorf("files extend each other deeper than %d levels", maxIncludes)
	}
	e.reading = append(e.reading, e.sources[name.Val])
	defer func() { e.reading = e.reading[:len(e.reading)-1] }()
	return parse(p, args)
}

// macro is a macro whose calls are counted.
type macro struct {
	*nodes.Macro
	engine *engine
	source *source
}

// String names the structure.
func (m *macro) String() string { return "macro " + m.Name }

func (e *engine) parseMacro(p, args *parser.Parser) (nodes.ControlStructure, error) {
	parse, _ := structures.All.Get("macro")
	cs, err := parse(p, args)
	if err != nil {
		return nil, err
	}
	m, ok := cs.(*structures.MacroControlStructure)
	if !ok {
		return nil, fmt.Errorf("unexpected %T", cs)
	}
	return &macro{m.Macro, e, e.source()}, nil
}

// Execute defines the macro.
func (m *macro) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	call, err := exec.MacroNodeToFunc(m.Macro, r)
	if err != nil {
		return err
	}
	e, home := m.engine, r.Environment.Context
	home.Set(m.Name, func(ev *exec.Evaluator, va *exec.VarArgs) *exec.Value {
		if e.macros++; e.macros > maxMacros {
			panic(m.source.errorAt(m.Location, "macros call each other deeper than %d levels, last %s()", maxMacros, m.Name))
		}
		defer func() { e.macros-- }()
		// The body of a {% call %} belongs to this call alone.
		caller, _ := ev.Environment.Context.Get(callerName)
		ev.Environment.Context.Set(callerName, nil)
		home.Set(callerName, caller)
		v := call(va)
		home.Set(callerName, nil)
		return v
	})
	return nil
}
