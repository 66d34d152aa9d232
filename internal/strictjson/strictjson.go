// Package strictjson reads request bodies so that what a caller sent is either
// understood completely or refused with the place and the reason.
//
// It works on the token reader of go-json-experiment/json, which is where
// encoding/json/v2 comes from: unlike encoding/json it refuses duplicate names,
// invalid UTF-8 and lone surrogates, matches names exactly, and hands out
// values digit for digit. On top of it, this package finds every wrong field
// instead of the first, and never repeats what was sent.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/RC918/morningai"
)

// CodeInvalidJSON is the code of errors about the text itself, before any field
// has a meaning.
const CodeInvalidJSON morningai.Code = "invalid_json"

const (
	// MaxDepth bounds how deep values may be nested, the outermost included.
	// Readers recurse, so a limit well below theirs keeps every accepted value
	// readable wherever it travels.
	MaxDepth = 1_000
	// MaxWrong is how many wrong fields are looked for before reading stops.
	MaxWrong = 100
)

// Decode reads exactly one JSON object into the struct that v points to. Fields
// are matched by the names in their json tags, upper and lower case apart.
//
// Wrong fields are returned with a location such as body.tasks[3].delay; what
// is wrong is left unset and everything else is set, so that the caller can
// check the rest too. At most MaxWrong are returned; reading stops there. The
// error is about the text as a whole and has the code invalid_json: syntax, a
// name that appears twice in any object, invalid UTF-8, \u0000, more than
// MaxDepth levels, or anything after the object.
//
// Supported are bool, string, int, json.RawMessage (kept digit for digit,
// without the space between tokens), map[string]string, structs, slices,
// pointers, and any [encoding.TextUnmarshaler] as a JSON string. null is wrong
// except for a pointer to a pointer, which then points to nil, and inside a
// json.RawMessage. The tags minItems and maxItems bound a slice; one that is
// too long is not read to its end.
func Decode(data []byte, v any) ([]morningai.FieldError, error) {
	if err := scan(data); err != nil {
		return nil, err
	}
	d := &decoder{in: jsontext.NewDecoder(bytes.NewBuffer(data))}
	err := d.value(target(v))
	if err == nil {
		if _, err = d.in.ReadToken(); err == io.EOF {
			return d.wrong, nil
		} else if err == nil {
			err = errTrailing
		}
	}
	if errors.Is(err, errStop) {
		return d.wrong, nil
	}
	return nil, syntaxError(err, d.in.InputOffset())
}

var (
	errStop     = errors.New("enough is wrong")
	errTrailing = errors.New("more after the value")
)

// scan finds what can be told without structure, and so bounds the work of
// everything after it: it is one pass and allocates nothing.
func scan(data []byte) error {
	if len(bytes.TrimLeft(data, " \t\r\n")) == 0 {
		return invalid("the body is empty; it must be a JSON object")
	}
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			if bytes.HasPrefix(data[i:], []byte(`\u0000`)) {
				return invalid(fmt.Sprintf("\\u0000 is not allowed in strings (byte %d)", i))
			}
			i++
		case quoted:
		case c == '[' || c == '{':
			if depth++; depth > MaxDepth {
				return invalid(fmt.Sprintf("values are nested more than %d deep", MaxDepth))
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	if !utf8.Valid(data) {
		return invalid("the body is not valid UTF-8")
	}
	return nil
}

func invalid(detail string, fields ...morningai.FieldError) error {
	return &morningai.Error{Code: CodeInvalidJSON, Op: "read body", Detail: detail, Fields: fields}
}

// syntaxError words the reader's error anew: its own text quotes the input.
func syntaxError(err error, offset int64) error {
	var syntactic *jsontext.SyntacticError
	if errors.As(err, &syntactic) {
		offset = syntactic.ByteOffset
	}
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		at := locate(syntactic.JSONPointer)
		return invalid("a name appears twice in one object", morningai.FieldError{Location: at, Message: "appears twice"})
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return invalid("the body ends in the middle of its JSON value")
	case errors.Is(err, errTrailing):
		return invalid("there is more after the JSON value")
	default:
		return invalid(fmt.Sprintf("the body is not valid JSON at byte %d", offset))
	}
}

// locate turns a JSON pointer into a location, as far as its names can be shown.
func locate(pointer jsontext.Pointer) string {
	at := "body"
	for token := range pointer.Tokens() {
		if n, err := strconv.Atoi(token); err == nil && n >= 0 {
			at += "[" + strconv.Itoa(n) + "]"
			continue
		}
		if !showable(token) {
			return at
		}
		at += "." + token
	}
	return at
}

// showable reports whether a name from the input may appear in a location.
func showable(name string) bool {
	return len(name) <= 64 && morningai.ValidName(name)
}

// compact copies a value without the space between its tokens.
func compact(value []byte) (json.RawMessage, error) {
	var b bytes.Buffer
	b.Grow(len(value))
	if err := json.Compact(&b, value); err != nil {
		return nil, fmt.Errorf("compact a value: %w", err)
	}
	return b.Bytes(), nil
}
