package jobcontrol

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"testing"
)

// slowly is DecodeJSON by way of the standard library.
func slowly(data []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	var whole func(v any) any
	whole = func(v any) any {
		switch v := v.(type) {
		case json.Number:
			if i, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
				return i
			}
			f, _ := v.Float64()
			return f
		case []any:
			for i := range v {
				v[i] = whole(v[i])
			}
		case map[string]any:
			for k := range v {
				v[k] = whole(v[k])
			}
		}
		return v
	}
	return whole(v), nil
}

func FuzzDecodeJSON(f *testing.F) {
	for _, s := range []string{
		`null`, `true`, `false`, `0`, `-0`, `1.5e3`, `9223372036854775807`, `9223372036854775808`, `1e999`, `""`, `"a\u00e9\n\ud83d\ude00"`, "\"\xff\"",
		`[]`, `{}`, ` [ 1 , [ ] , { "a" : "b" , "a" : null } ] `, `{"a":{"b":[1,2,{"c":"\\\""}]}}`, `[1] 2`, `[1,]`, ``, `{"a"`, `nul`, `01`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := DecodeJSON(data)
		if !json.Valid(data) {
			if err == nil {
				t.Fatalf("%q was decoded", data)
			}
			return
		}
		want, werr := slowly(data)
		if err != nil || werr != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %#v, %v; want %#v, %v", data, got, err, want, werr)
		}
	})
}
