package jobcontrol

import (
	"bytes"
	"cmp"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// MaxResult is the largest result of a build, in bytes of JSON.
const MaxResult = 1 << 20

// MaxArguments are the largest arguments of a build beside those of its job's
// definition, in bytes of JSON.
const MaxArguments = 1 << 20

// surviving remembers the answers of survives, by reflect.Type.
var surviving sync.Map

// survives tells whether every value of a type is known to come back equal after
// encoding and decoding: numbers, strings of valid UTF-8 and booleans, and lists
// and structs of them whose fields all have names of their own.
func survives(t reflect.Type) bool {
	if yes, ok := surviving.Load(t); ok {
		return yes.(bool)
	}
	yes := plain(t, map[reflect.Type]bool{})
	surviving.Store(t, yes)
	return yes
}

func plain(t reflect.Type, above map[reflect.Type]bool) bool {
	for _, coder := range []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[json.Unmarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()} {
		if t.Implements(coder) || reflect.PointerTo(t).Implements(coder) {
			return false
		}
	}
	switch k := t.Kind(); {
	case k >= reflect.Bool && k <= reflect.Float64 || k == reflect.String:
		return t != reflect.TypeFor[json.Number]()
	case k == reflect.Slice || k == reflect.Array:
		return !above[t] && plain(t.Elem(), above)
	case k != reflect.Struct || above[t]:
		return false
	}
	above[t] = true
	defer delete(above, t)
	names := map[string]bool{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		name = strings.ToLower(cmp.Or(name, f.Name))
		if !f.IsExported() || f.Anonymous || strings.Contains(options, "string") || name == "-" || names[name] || !plain(f.Type, above) {
			return false
		}
		names[name] = true
	}
	return true
}

// EncodeResult makes the stored form of what a task returned. A value that JSON
// cannot hold, that does not come back equal after encoding and decoding, or
// that is larger than [MaxResult], is a failure: the build fails at once, without
// another try. A nil value gives nil: there is no result.
func EncodeResult(v any) (json.RawMessage, error) {
	if v == nil {
		return nil, nil
	}
	refuse := func(format string, args ...any) (json.RawMessage, error) {
		return nil, &Failure{Kind: FailUser, Message: "result refused: " + fmt.Sprintf(format, args...)}
	}
	data, raw := v.(json.RawMessage)
	if raw {
		if len(data) <= MaxResult && !json.Valid(data) {
			return refuse("it is not valid JSON")
		}
	} else {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return refuse("%v", err)
		}
		data = bytes.TrimRight(buf.Bytes(), "\n")
		if !bytes.Equal(data, []byte("null")) && (bytes.Contains(data, []byte(`\ufffd`)) || !survives(reflect.TypeOf(v))) {
			back := reflect.New(reflect.TypeOf(v))
			if err := json.Unmarshal(data, back.Interface()); err != nil {
				return refuse("it does not decode again: %v", err)
			}
			var again bytes.Buffer
			enc := json.NewEncoder(&again)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(back.Elem().Interface()); err != nil || !bytes.Equal(bytes.TrimRight(again.Bytes(), "\n"), data) {
				return refuse("a %T does not survive encoding and decoding", v)
			}
		}
	}
	if len(data) > MaxResult {
		return refuse("%d bytes of JSON are more than %d; store it elsewhere and return a pointer to it", len(data), MaxResult)
	}
	return data, nil
}
