package rq

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Serializer is how values are written for Python.
type Serializer string

// The serializers that RQ comes with. Python programs use pickle unless told
// otherwise.
const (
	JSON   Serializer = "json"
	Pickle Serializer = "pickle"
)

// ErrNotPlain is matched by the error for a value of Python that has no form in
// JSON: an object of a class, a set, or another that only Python can build.
var ErrNotPlain = errors.New("not a plain value")

// maxInflated bounds what a compressed value may grow to.
const maxInflated = 64 << 20

// pack writes one value, given as JSON.
func (s Serializer) pack(value json.RawMessage) ([]byte, error) {
	if s == Pickle {
		return toPickle(value)
	}
	return value, nil
}

// serializerOf tells with which serializer the data of a job was written.
func serializerOf(data []byte) Serializer {
	if raw, err := inflate(data); err == nil && len(raw) > 0 && raw[0] == 0x80 {
		return Pickle
	}
	return JSON
}

// unpack reads a value of either serializer and returns it as JSON.
func unpack(raw []byte) (json.RawMessage, error) {
	if len(raw) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrNotPlain)
	}
	if raw[0] == 0x80 {
		return fromPickle(raw)
	}
	return fromJSON(raw)
}

// fromJSON reads JSON as Python writes it: NaN and the infinities, which JSON
// has no form for, become strings.
func fromJSON(raw []byte) (json.RawMessage, error) {
	if json.Valid(raw) {
		return json.RawMessage(raw), nil
	}
	var out bytes.Buffer
	inText, escaped := false, false
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case inText:
			inText = escaped || c != '"'
			escaped = c == '\\' && !escaped
		case c == '"':
			inText = true
		default:
			if word := numberWord(raw[i:]); word != "" {
				out.WriteString(`"` + word + `"`)
				i += len(word) - 1
				continue
			}
		}
		out.WriteByte(c)
	}
	if !json.Valid(out.Bytes()) {
		return nil, fmt.Errorf("%w: it is neither JSON nor a pickle", ErrNotPlain)
	}
	return out.Bytes(), nil
}

func numberWord(raw []byte) string {
	for _, word := range []string{"NaN", "Infinity", "-Infinity"} {
		if bytes.HasPrefix(raw, []byte(word)) {
			return word
		}
	}
	return ""
}

func deflate(raw []byte) []byte {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	_, _ = w.Write(raw) // a buffer takes everything
	_ = w.Close()
	return b.Bytes()
}

// inflate returns what was compressed; what was not, as it is.
func inflate(raw []byte) ([]byte, error) {
	r, err := zlib.NewReader(bytes.NewReader(raw))
	if err != nil {
		return raw, nil
	}
	out, err := io.ReadAll(io.LimitReader(r, maxInflated+1))
	if err != nil {
		return nil, fmt.Errorf("%w: its compressed form is broken", ErrNotPlain)
	}
	if len(out) > maxInflated {
		return nil, fmt.Errorf("%w: it is over %d bytes", ErrNotPlain, maxInflated)
	}
	return out, nil
}

// call is what a job calls.
type call struct {
	function string
	args     json.RawMessage // an array
	kwargs   json.RawMessage // an object
}

// packCall writes the data of a job.
func (s Serializer) packCall(c call) ([]byte, error) {
	name, err := json.Marshal(c.function)
	if err != nil {
		return nil, err
	}
	list := bytes.Join([][]byte{name, []byte("null"), c.args, c.kwargs}, []byte(", "))
	raw, err := s.pack(json.RawMessage("[" + string(list) + "]"))
	if err != nil {
		return nil, err
	}
	return deflate(raw), nil
}

// unpackCall reads the data of a job. What it calls is known before the
// arguments are, which may be of a kind that cannot be read.
func unpackCall(data []byte) (call, error) {
	raw, err := inflate(data)
	if err != nil {
		return call{}, err
	}
	value, err := unpack(raw)
	if err != nil {
		return call{function: functionOf(raw)}, err
	}
	var parts []json.RawMessage
	var c call
	if err := json.Unmarshal(value, &parts); err != nil || len(parts) != 4 || json.Unmarshal(parts[0], &c.function) != nil {
		return call{}, fmt.Errorf("%w: it is not the data of a job", ErrNotPlain)
	}
	if string(parts[1]) != "null" {
		return c, fmt.Errorf("%w: it calls a method of an object", ErrNotPlain)
	}
	c.args, c.kwargs = parts[2], parts[3]
	if len(c.args) == 0 || c.args[0] != '[' || len(c.kwargs) == 0 || c.kwargs[0] != '{' {
		return c, fmt.Errorf("%w: its arguments are not a list and a dict", ErrNotPlain)
	}
	return c, nil
}

// packResult is a return value as a result entry has it; "" for None.
func (s Serializer) packResult(value json.RawMessage) (string, error) {
	if len(value) == 0 || string(bytes.TrimSpace(value)) == "null" {
		return "", nil
	}
	raw, err := s.pack(value)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(raw), nil
}

func unpackResult(text string) (json.RawMessage, error) {
	if text == "" {
		return json.RawMessage("null"), nil
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%w: its base64 form is broken", ErrNotPlain)
	}
	return unpack(raw)
}

func packTrace(text string) string {
	return base64.StdEncoding.EncodeToString(deflate([]byte(text)))
}

func unpackTrace(text string) string {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		raw = []byte(text)
	}
	out, err := inflate(raw)
	if err != nil {
		out = raw
	}
	return strings.ToValidUTF8(string(out), "\uFFFD")
}
