package strictjson

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/RC918/morningai"
)

// Ruled is implemented by text types that can say in words what they accept,
// such as "must be a duration such as 1m30s".
type Ruled interface{ Rule() string }

var (
	rawType  = reflect.TypeFor[json.RawMessage]()
	textType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// decoder walks a Go value and the tokens side by side. Its methods return an
// error only if reading cannot go on; what is wrong with a field is noted.
type decoder struct {
	in    *jsontext.Decoder
	path  []string // of the value being read, as parts of a location
	wrong []morningai.FieldError
	types map[reflect.Type]map[string]field
}

type field struct {
	index    int
	min, max int // items; max 0 means no bound
}

func target(v any) (reflect.Value, field) { return reflect.ValueOf(v).Elem(), field{} }

func (d *decoder) value(v reflect.Value, f field) error {
	t := v.Type()
	switch {
	case t == rawType:
		return d.raw(v)
	case t.Kind() == reflect.Pointer:
		return d.pointer(v, f)
	case reflect.PointerTo(t).Implements(textType):
		return d.text(v)
	}
	switch t.Kind() {
	case reflect.Struct:
		return d.object(v)
	case reflect.Slice:
		return d.array(v, f)
	case reflect.Map:
		return d.strings(v)
	case reflect.String:
		return d.scalar('"', "must be a string", func(tok jsontext.Token) { v.SetString(tok.String()) })
	case reflect.Int:
		return d.integer(v)
	case reflect.Bool:
		return d.boolean(v)
	}
	return fmt.Errorf("read body: no rule for the type %s", t)
}

// refuse notes a wrong value and steps over it.
func (d *decoder) refuse(message string) error {
	if err := d.in.SkipValue(); err != nil {
		return err
	}
	return d.note(message)
}

func (d *decoder) note(message string) error {
	at := "body" + strings.Join(d.path, "")
	d.wrong = append(d.wrong, morningai.FieldError{Location: at, Message: message})
	if len(d.wrong) >= MaxWrong {
		return errStop
	}
	return nil
}

func (d *decoder) scalar(kind jsontext.Kind, message string, set func(jsontext.Token)) error {
	if d.in.PeekKind() != kind {
		return d.refuse(message)
	}
	tok, err := d.in.ReadToken()
	if err == nil {
		set(tok)
	}
	return err
}

func (d *decoder) raw(v reflect.Value) error {
	value, err := d.in.ReadValue()
	if err != nil {
		return err
	}
	kept, err := compact(value)
	v.SetBytes(kept)
	return err
}

func (d *decoder) pointer(v reflect.Value, f field) error {
	to := reflect.New(v.Type().Elem())
	if to.Elem().Kind() == reflect.Pointer && d.in.PeekKind() == 'n' {
		v.Set(to)
		return d.in.SkipValue()
	}
	before := len(d.wrong)
	err := d.value(to.Elem(), f)
	if err == nil && len(d.wrong) == before {
		v.Set(to)
	}
	return err
}

func (d *decoder) text(v reflect.Value) error {
	into := v.Addr().Interface().(encoding.TextUnmarshaler)
	rule := ruleOf(into)
	if d.in.PeekKind() != '"' {
		return d.refuse(rule)
	}
	tok, err := d.in.ReadToken()
	if err != nil {
		return err
	}
	text := tok.String()
	if t, ok := into.(*time.Time); ok {
		if *t, ok = ParseTime(text); !ok {
			return d.note(rule)
		}
		return nil
	}
	if into.UnmarshalText([]byte(text)) != nil {
		return d.note(rule)
	}
	return nil
}

// ParseTime reads a time as RFC 3339 writes it, and nothing else.
func ParseTime(text string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || !timeForm.MatchString(text) {
		return time.Time{}, false
	}
	return t, true
}

// timeForm is RFC 3339, of which package time also takes T8:00:00, 00,5 and
// +24:00.
var timeForm = regexp.MustCompile(`^[0-9-]{10}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`)

func ruleOf(v any) string {
	switch v := v.(type) {
	case Ruled:
		return v.Rule()
	case *time.Time:
		return "must be an RFC 3339 time such as 2026-01-31T15:04:05Z"
	case *morningai.ID:
		return "must be a UUID in its standard form of 36 characters"
	}
	return "has a wrong form"
}

// integer accepts digits alone: a fraction or an exponent is wrong even where
// its value is whole. What does not fit becomes the nearest int, which the
// field's own range then refuses in its own words.
func (d *decoder) integer(v reflect.Value) error {
	const message = "must be a whole number, written without fraction or exponent"
	if d.in.PeekKind() != '0' {
		return d.refuse(message)
	}
	value, err := d.in.ReadValue()
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(string(value), 10, strconv.IntSize)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return d.note(message)
	}
	v.SetInt(max(math.MinInt, min(n, math.MaxInt)))
	return nil
}

func (d *decoder) boolean(v reflect.Value) error {
	switch kind := d.in.PeekKind(); kind {
	case 't', 'f':
		return d.scalar(kind, "", func(tok jsontext.Token) { v.SetBool(tok.Bool()) })
	}
	return d.refuse("must be true or false")
}

func (d *decoder) array(v reflect.Value, f field) error {
	if d.in.PeekKind() != '[' {
		return d.refuse("must be an array")
	}
	if _, err := d.in.ReadToken(); err != nil {
		return err
	}
	for n := 0; d.in.PeekKind() != ']'; n++ {
		if f.max > 0 && n == f.max {
			d.wrong = nil // this alone is worth saying
			if err := d.note(fmt.Sprintf("must hold at most %d items", f.max)); err != nil {
				return err
			}
			return errStop
		}
		item := reflect.New(v.Type().Elem()).Elem()
		d.path = append(d.path, "["+strconv.Itoa(n)+"]")
		if err := d.value(item, field{}); err != nil {
			return err
		}
		d.path = d.path[:len(d.path)-1]
		v.Set(reflect.Append(v, item))
	}
	if _, err := d.in.ReadToken(); err != nil {
		return err
	}
	if v.Len() < f.min {
		return d.note(fmt.Sprintf("must hold at least %d", f.min))
	}
	return nil
}

// members reads an object and calls read with each name.
func (d *decoder) members(read func(name string) error) error {
	if d.in.PeekKind() != '{' {
		return d.refuse("must be an object")
	}
	if _, err := d.in.ReadToken(); err != nil {
		return err
	}
	for d.in.PeekKind() != '}' {
		tok, err := d.in.ReadToken()
		if err != nil {
			return err
		}
		name := tok.String()
		shown := ""
		if showable(name) {
			shown = "." + name
		}
		d.path = append(d.path, shown)
		if err := read(name); err != nil {
			return err
		}
		d.path = d.path[:len(d.path)-1]
	}
	_, err := d.in.ReadToken()
	return err
}

func (d *decoder) object(v reflect.Value) error {
	known := d.fields(v.Type())
	return d.members(func(name string) error {
		f, ok := known[name]
		switch {
		case ok:
			return d.value(v.Field(f.index), f)
		case showable(name):
			return d.refuse("is not a known field")
		}
		return d.refuse("has an unknown field")
	})
}

func (d *decoder) strings(v reflect.Value) error {
	out := map[string]string{}
	err := d.members(func(name string) error {
		return d.scalar('"', "must be a string", func(tok jsontext.Token) { out[name] = tok.String() })
	})
	if err == nil {
		v.Set(reflect.ValueOf(out))
	}
	return err
}

func (d *decoder) fields(t reflect.Type) map[string]field {
	if known, ok := d.types[t]; ok {
		return known
	}
	known := map[string]field{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		known[name] = field{index: f.Index[0], min: bound(f, "minItems"), max: bound(f, "maxItems")}
	}
	if d.types == nil {
		d.types = map[reflect.Type]map[string]field{}
	}
	d.types[t] = known
	return known
}

func bound(f reflect.StructField, tag string) int {
	n, err := strconv.Atoi(f.Tag.Get(tag))
	if err != nil {
		return 0
	}
	return n
}
