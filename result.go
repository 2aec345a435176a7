package jobcontrol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
)

// MaxResult is the largest result of a build, in bytes of JSON.
const MaxResult = 1 << 20

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
		if !bytes.Equal(data, []byte("null")) {
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
