package rq

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	pickle "github.com/kisielk/og-rek"
)

// toPickle writes a JSON value as Python would pickle what json.loads makes of
// it.
func toPickle(value json.RawMessage) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	v, err := pythonValue(v)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := pickle.NewEncoderWithConfig(&b, &pickle.EncoderConfig{Protocol: 3}).Encode(v); err != nil {
		return nil, fmt.Errorf("write a pickle: %w", err)
	}
	return b.Bytes(), nil
}

func pythonValue(v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return pickle.None{}, nil
	case json.Number:
		text := v.String()
		if strings.ContainsAny(text, ".eE") {
			return strconv.ParseFloat(text, 64)
		}
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n, nil
		}
		n, _ := new(big.Int).SetString(text, 10)
		return n, nil
	case []any:
		for i := range v {
			var err error
			if v[i], err = pythonValue(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range v {
			var err error
			if v[k], err = pythonValue(v[k]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// fromPickle reads a pickle of plain values. The reader builds no object: what
// Python would import or call comes as a note of it, which is refused here.
func fromPickle(raw []byte) (_ json.RawMessage, err error) {
	defer func() {
		if recover() != nil { // hostile bytes must not end a worker
			err = fmt.Errorf("%w: its pickle is broken", ErrNotPlain)
		}
	}()
	whole, repeats := walk(raw)
	if !whole {
		return nil, fmt.Errorf("%w: its pickle is cut off", ErrNotPlain)
	}
	if repeats {
		return nil, fmt.Errorf("%w: its pickle refers to one list in several places", ErrNotPlain)
	}
	d := pickle.NewDecoderWithConfig(bytes.NewReader(raw), &pickle.DecoderConfig{PyDict: true})
	v, err := d.Decode()
	if err != nil {
		return nil, fmt.Errorf("%w: its pickle cannot be read", ErrNotPlain)
	}
	var b bytes.Buffer
	if err := plainJSON(&b, v, 0); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// functionOf finds what a job calls in a pickle whose arguments cannot be read:
// the first thing that Python writes of it, after the protocol and the frame.
func functionOf(raw []byte) string {
	const protocol, frame, mark, shortText, text = 0x80, 0x95, '(', 0x8c, 'X'
	for len(raw) > 5 {
		switch raw[0] {
		case protocol:
			raw = raw[2:]
		case frame:
			raw = raw[min(9, len(raw)):]
		case mark:
			raw = raw[1:]
		case shortText:
			return functionText(raw[2:], int(raw[1]))
		case text:
			return functionText(raw[5:], int(binary.LittleEndian.Uint32(raw[1:5])))
		default:
			return ""
		}
	}
	return ""
}

func functionText(raw []byte, n int) string {
	if n > len(raw) || !ValidFunc(string(raw[:n])) {
		return ""
	}
	return string(raw[:n])
}

const (
	maxDepth = 200
	maxPlain = 8 << 20 // bytes of JSON that a pickle may become
)

func plainJSON(b *bytes.Buffer, v any, depth int) error {
	if depth > maxDepth || b.Len() > maxPlain { // a few bytes may refer to themselves many times
		return fmt.Errorf("%w: it is nested too deeply, or too large", ErrNotPlain)
	}
	switch v := v.(type) {
	case pickle.None:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case *big.Int:
		b.WriteString(v.String())
	case float64:
		b.WriteString(pythonFloat(v))
	case string:
		return quoteJSON(b, v)
	case pickle.ByteString:
		return quoteJSON(b, string(v))
	case pickle.Bytes:
		return quoteJSON(b, base64.StdEncoding.EncodeToString([]byte(v)))
	case []any:
		return plainList(b, v, depth)
	case pickle.Tuple:
		return plainList(b, v, depth)
	case pickle.Dict:
		return plainDict(b, v, depth)
	default:
		return fmt.Errorf("%w: it holds an object that only Python can build", ErrNotPlain)
	}
	return nil
}

func plainList(b *bytes.Buffer, list []any, depth int) error {
	b.WriteByte('[')
	for i, v := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := plainJSON(b, v, depth+1); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	return nil
}

// plainDict writes keys that are not text as Python's own JSON does.
func plainDict(b *bytes.Buffer, d pickle.Dict, depth int) error {
	b.WriteByte('{')
	first := true
	var err error
	d.Iter()(func(key, value any) bool {
		if !first {
			b.WriteByte(',')
		}
		first = false
		name, ok := key.(string)
		if !ok {
			var text bytes.Buffer
			switch key.(type) {
			case pickle.None, bool, int64, *big.Int, float64:
				err = plainJSON(&text, key, depth+1)
			default:
				err = fmt.Errorf("%w: a key of a dict is not text", ErrNotPlain)
			}
			name = strings.Trim(text.String(), `"`)
		}
		if err == nil {
			err = quoteJSON(b, name)
		}
		b.WriteByte(':')
		if err == nil {
			err = plainJSON(b, value, depth+1)
		}
		return err == nil
	})
	b.WriteByte('}')
	return err
}

func quoteJSON(b *bytes.Buffer, s string) error {
	if !utf8.ValidString(s) { // half of a character, which Python keeps and JSON would replace
		return fmt.Errorf("%w: it holds text that is no Unicode", ErrNotPlain)
	}
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the line end
	return nil
}

// pythonFloat keeps a float a float: 2.0, not 2.
func pythonFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return `"NaN"`
	case math.IsInf(f, 1):
		return `"Infinity"`
	case math.IsInf(f, -1):
		return `"-Infinity"`
	}
	text := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return text
}
