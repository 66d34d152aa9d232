package strictjson_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/strictjson"
	"github.com/RC918/morningai/internal/wire"
)

type inner struct {
	Priority *int           `json:"priority"`
	Delay    *wire.Duration `json:"delay"`
}

type body struct {
	Name    string            `json:"name"`
	Count   int               `json:"count"`
	On      *bool             `json:"on"`
	Limit   **int             `json:"limit"`
	Delay   *wire.Duration    `json:"delay"`
	At      *time.Time        `json:"at"`
	ID      *morningai.ID     `json:"id"`
	Meta    map[string]string `json:"meta"`
	Payload json.RawMessage   `json:"payload"`
	Items   []inner           `json:"items" minItems:"1" maxItems:"3"`
}

func TestDecodeSetsEveryKindOfField(t *testing.T) {
	const text = ` {"name":"a\n\u00e9","count":-3,"on":false,"limit":7,"delay":"1m30s","at":"2026-01-02T03:04:05.5+01:00",
		"id":"01937C4E-0000-7000-8000-000000000001","meta":{"k":"v","":"w"},
		"payload":{ "x" : [1.0, 1e400, -0, 12345678901234567890123456789 , "<&>\u2028" ]},
		"items":[{"priority":0},{"delay":"0s"}] } `
	var b body
	wrong, err := strictjson.Decode([]byte(text), &b)
	if err != nil || len(wrong) > 0 {
		t.Fatalf("Decode: %v, %v", wrong, err)
	}
	if b.Name != "a\né" || b.Count != -3 || *b.On || **b.Limit != 7 || time.Duration(*b.Delay) != 90*time.Second ||
		b.At.UTC().Format(time.RFC3339Nano) != "2026-01-02T02:04:05.5Z" || b.Meta["k"] != "v" || b.Meta[""] != "w" ||
		b.ID.String() != "01937c4e-0000-7000-8000-000000000001" || *b.Items[0].Priority != 0 || *b.Items[1].Delay != 0 {
		t.Errorf("got %+v", b)
	}
	if want := `{"x":[1.0,1e400,-0,12345678901234567890123456789,"<&>\u2028"]}`; string(b.Payload) != want {
		t.Errorf("payload %s, want %s", b.Payload, want)
	}
}

func TestDecodeTellsNullFromAbsent(t *testing.T) {
	for text, want := range map[string]string{
		`{}`: "absent", `{"limit":null}`: "null", `{"limit":1}`: "set",
	} {
		var b body
		if wrong, err := strictjson.Decode([]byte(text), &b); err != nil || len(wrong) > 0 {
			t.Fatalf("%s: %v, %v", text, wrong, err)
		}
		got := "set"
		if b.Limit == nil {
			got = "absent"
		} else if *b.Limit == nil {
			got = "null"
		}
		if got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
}

func TestDecodeFindsEveryWrongField(t *testing.T) {
	for text, want := range map[string][]string{
		`{"count":"1","name":2,"on":0,"delay":5,"meta":[],"items":{}}`: {"body.count", "body.name", "body.on", "body.delay", "body.meta", "body.items"},
		`{"count":5.0}`:                           {"body.count"},
		`{"at":"2026-01-02T3:04:05Z"}`:            {"body.at"},
		`{"at":"2026-01-02T03:04:05,5Z"}`:         {"body.at"},
		`{"at":"2026-01-02T03:04:05+24:00"}`:      {"body.at"},
		`{"at":"2026-01-02T03:04:05+01:60"}`:      {"body.at"},
		`{"count":1e2}`:                           {"body.count"},
		`{"count":1e400}`:                         {"body.count"},
		`{"limit":1.5}`:                           {"body.limit"},
		`{"name":null,"count":null,"on":null}`:    {"body.name", "body.count", "body.on"},
		`{"Name":"x"}`:                            {"body.Name"},
		`{"nope":[1,{"a":2}],"name":"x"}`:         {"body.nope"},
		`{"no pe":1,"<script>":2}`:                {"body", "body"},
		`{"delay":"1 hour"}`:                      {"body.delay"},
		`{"delay":"99999999999999h"}`:             {"body.delay"},
		`{"at":"10000-01-01T00:00:00Z"}`:          {"body.at"},
		`{"at":"2026-02-30T00:00:00Z"}`:           {"body.at"},
		`{"at":1760000000}`:                       {"body.at"},
		`{"id":"x"}`:                              {"body.id"},
		`{"meta":{"a":1,"b":"ok","c d":null}}`:    {"body.meta.a", "body.meta"},
		`{"items":[{"priority":1},{"delay":""}]}`: {"body.items[1].delay"},
		`{"items":[1,{"x":1}]}`:                   {"body.items[0]", "body.items[1].x"},
		`{"items":[]}`:                            {"body.items"},
		`{"items":[{},{},{},{}]}`:                 {"body.items"},
		`[]`:                                      {"body"},
		`"text"`:                                  {"body"},
		`null`:                                    {"body"},
	} {
		var b body
		wrong, err := strictjson.Decode([]byte(text), &b)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		var got []string
		for _, w := range wrong {
			got = append(got, w.Location)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: wrong at %q, want %q", text, got, want)
		}
	}
}

func TestDecodeKeepsWhatIsRight(t *testing.T) {
	var b body
	wrong, err := strictjson.Decode([]byte(`{"delay":"soon","on":1,"name":"kept","count":99999999999999999999999}`), &b)
	if err != nil || len(wrong) != 2 {
		t.Fatalf("wrong %v, error %v", wrong, err)
	}
	if b.Name != "kept" || b.Delay != nil || b.On != nil || b.Count < 1<<30 {
		t.Errorf("got %+v", b)
	}
}

func TestDecodeRefusesTheText(t *testing.T) {
	for name, text := range map[string]string{
		"empty":              "",
		"blank":              " \n",
		"broken":             `{"name":"a",}`,
		"cut":                `{"name":"a"`,
		"cut in a string":    `{"name":"a`,
		"trailing value":     `{"name":"a"} {}`,
		"trailing bracket":   `{"name":"a"}]`,
		"bare word":          `{"name":yes}`,
		"NaN":                `{"count":NaN}`,
		"leading zero":       `{"count":01}`,
		"plus":               `{"count":+1}`,
		"comment":            `{"name":"a"/**/}`,
		"single quotes":      `{'name':'a'}`,
		"byte order mark":    "\ufeff{}",
		"duplicate":          `{"name":"a","name":"a"}`,
		"duplicate escaped":  `{"name":"a","n\u0061me":"b"}`,
		"duplicate unknown":  `{"zz":1,"zz":1}`,
		"duplicate in items": `{"items":[{"priority":1,"priority":2}]}`,
		"duplicate in raw":   `{"payload":{"a":[{"b":1,"b":2}]}}`,
		"duplicate in meta":  `{"meta":{"a":"1","a":"2"}}`,
		"NUL escaped":        `{"name":"a\u0000"}`,
		"NUL in raw":         `{"payload":["\\\u0000"]}`,
		"NUL in a name":      `{"payload":{"\u0000":1}}`,
		"NUL byte":           "{\"name\":\"\x00\"}",
		"control byte":       "{\"name\":\"\x01\"}",
		"invalid UTF-8":      "{\"name\":\"\xff\"}",
		"invalid in raw":     "{\"payload\":\"\xc0\x80\"}",
		"lone surrogate":     `{"payload":"\ud800"}`,
		"deep":               `{"payload":` + strings.Repeat("[", strictjson.MaxDepth) + strings.Repeat("]", strictjson.MaxDepth) + `}`,
		"very deep":          strings.Repeat("[", 100_000),
		"very deep objects":  `{"payload":` + strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_001),
	} {
		var b body
		wrong, err := strictjson.Decode([]byte(text), &b)
		if morningai.CodeOf(err) != strictjson.CodeInvalidJSON || wrong != nil {
			t.Errorf("%s: wrong %v, error %v", name, wrong, err)
		}
	}
}

func TestDecodeAcceptsWhatOnlyLooksForbidden(t *testing.T) {
	deep := strings.Repeat("[", strictjson.MaxDepth-1) + strings.Repeat("]", strictjson.MaxDepth-1)
	for _, payload := range []string{`"\\u0000"`, deep, `"[[[[{{{{"`, `"\"[\\"`, `"😀\ud83d\ude00"`} {
		var b body
		wrong, err := strictjson.Decode([]byte(`{"payload":`+payload+`}`), &b)
		if err != nil || len(wrong) > 0 || string(b.Payload) != payload {
			t.Errorf("%.40s: %v, %v, kept %.40s", payload, wrong, err, b.Payload)
		}
	}
}

func TestDecodeLocatesDuplicates(t *testing.T) {
	for text, want := range map[string]string{
		`{"items":[{},{"priority":1,"priority":2}]}`: "body.items[1].priority",
		`{"payload":{"se cret":{"a":1,"a":2}}}`:      "body.payload",
	} {
		var b body
		_, err := strictjson.Decode([]byte(text), &b)
		e, ok := errors.AsType[*morningai.Error](err)
		if !ok || len(e.Fields) != 1 || e.Fields[0].Location != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestDecodeStopsEarly(t *testing.T) {
	many := func(n int, item string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + "]"
	}
	var b body
	wrong, err := strictjson.Decode([]byte(`{"name":1,"items":`+many(1_000_000, "{}")+`}`), &b)
	if err != nil || len(wrong) != 1 || wrong[0].Location != "body.items" || len(b.Items) > 3 {
		t.Errorf("a million items: %v, %v, %d kept", wrong, err, len(b.Items))
	}
	var unknown strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&unknown, `"f%d":0,`, i)
	}
	wrong, err = strictjson.Decode([]byte(`{`+unknown.String()+`"name":""}`), &b)
	if err != nil || len(wrong) != strictjson.MaxWrong {
		t.Errorf("many wrong fields: %d, %v", len(wrong), err)
	}
}

func TestErrorsNeverShowValues(t *testing.T) {
	const secret = "S3CRET"
	for _, text := range []string{
		`{"name":S3CRET}`, `{"count":"S3CRET"}`, `{"delay":"S3CRET"}`, `{"at":"S3CRET"}`, `{"id":"S3CRET"}`,
		`{"items":"S3CRET"}`, `{"payload":{"S3CRET x":1,"S3CRET x":2}}`, `{"S3CRET x":1}`, `{"a":"S3CRET"`, `{} S3CRET`,
	} {
		var b body
		wrong, err := strictjson.Decode([]byte(text), &b)
		if said := fmt.Sprint(wrong, err); strings.Contains(said, secret) {
			t.Errorf("%s: %s", text, said)
		}
		if err == nil && len(wrong) == 0 {
			t.Errorf("%s was accepted", text)
		}
	}
}

// FuzzDecode holds the decoder against encoding/json: what is accepted here
// must be accepted there and mean the same.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"name":"a","count":1,"on":true,"limit":null,"delay":"1s","at":"2026-01-02T03:04:05Z","meta":{"a":"b"},"payload":{"x":[1,2.50]},"items":[{"priority":1}]}`,
		`{"name":"a","name":"b"}`, `{"payload":"\u0000"}`, "{\"name\":\"\xff\"}", `{"count":1e2}`, `[[[[`, `{"limit":1}x`, ``,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got body
		wrong, err := strictjson.Decode(data, &got)
		if err != nil || len(wrong) > 0 {
			if err != nil && wrong != nil {
				t.Fatal("both wrong fields and an error")
			}
			return
		}
		var want body
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("encoding/json refuses what was accepted: %v", err)
		}
		if want.Limit != nil && got.Limit == nil {
			t.Error("lost a limit")
		}
		if len(want.Payload) > 0 {
			var b bytes.Buffer
			if err := json.Compact(&b, want.Payload); err != nil || !bytes.Equal(b.Bytes(), got.Payload) {
				t.Errorf("payload %q, want %q", got.Payload, want.Payload)
			}
		}
		want.Payload, got.Payload = nil, nil
		want.Limit, got.Limit = nil, nil
		a, _ := json.Marshal(want)
		b, _ := json.Marshal(got)
		if !bytes.Equal(a, b) {
			t.Errorf("got %s, want %s", b, a)
		}
	})
}
