package jobcontrol

import (
	"testing"
)

func TestEncodeInput(t *testing.T) {
	type in struct {
		A int    `json:"a"`
		B string `json:"$b,omitempty"`
	}
	check := func(what string, args, kwargs EncodedArguments, err error, wantArgs, wantKwargs string) {
		t.Helper()
		if err != nil || string(args) != wantArgs || string(kwargs) != wantKwargs {
			t.Errorf("%s: %s, %s, %v; want %s, %s", what, args, kwargs, err, wantArgs, wantKwargs)
		}
	}
	args, kwargs, err := encodeInput(in{A: 1})
	check("struct", args, kwargs, err, "", `{"a":1}`)
	args, kwargs, err = encodeInput(in{A: 1, B: "x"})
	check("key that is escaped", args, kwargs, err, "", `{"$$b":"x","a":1}`)
	args, kwargs, err = encodeInput(7)
	check("number", args, kwargs, err, "[7]", "")
	args, kwargs, err = encodeInput(map[string]int{"$x": 1})
	check("map", args, kwargs, err, `[{"$$x":1}]`, "")
	args, kwargs, err = encodeInput(None{})
	check("none", args, kwargs, err, "", `{}`)
	args, kwargs, err = encodeInput(Arguments{Args: []any{1, Retval{Job: "j"}}})
	check("arguments", args, kwargs, err, `[1,{"$retval":{"job":"j"}}]`, `{}`)
	if _, _, err := encodeInput(func() {}); err == nil {
		t.Error("a function was encoded")
	}
}
