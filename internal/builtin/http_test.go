package builtin

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RC918/morningai"
)

var loopback = prefixes("127.0.0.0/8")

// send runs one http task against the handler alone.
func send(t *testing.T, allow []netip.Prefix, resolver *net.Resolver, payload any) (httpReply, error) {
	t.Helper()
	raw, ok := payload.(string)
	if !ok {
		b, err := json.Marshal(payload)
		if err != nil {
			t.Fatal(err)
		}
		raw = string(b)
	}
	g, err := newGuard(allow)
	if err != nil {
		t.Fatal(err)
	}
	out, err := newCaller(g, resolver).handle(t.Context(), httpTask(t, raw))
	var reply httpReply
	if err == nil {
		if err := json.Unmarshal(out, &reply); err != nil {
			t.Fatalf("result %s: %v", out, err)
		}
	}
	return reply, err
}

type httpReply struct {
	Status    int
	Body      string
	Encoding  string
	Truncated bool
}

func httpTask(t *testing.T, payload string) *morningai.Task {
	t.Helper()
	id, err := morningai.NewID()
	if err != nil {
		t.Fatal(err)
	}
	return &morningai.Task{ID: id, TraceID: id, Type: "http", Attempt: 3, Payload: json.RawMessage(payload)}
}

type object = map[string]any

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// requireCode checks the code that readers see, and whether the task fails for
// good.
func requireCode(t *testing.T, err error, code string, forGood bool) {
	t.Helper()
	te, ok := errors.AsType[*morningai.TaskError](err)
	if !ok || te.Code != code {
		t.Fatalf("error %v, want code %s", err, code)
	}
	if errors.Is(err, morningai.ErrSkipRetry) != forGood {
		t.Fatalf("%v: fails for good = %v, want %v", err, !forGood, forGood)
	}
}

func TestHTTPSends(t *testing.T) {
	var got *http.Request
	var body string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got, body = r, string(b)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, "made <it>")
	})
	for _, tt := range []struct {
		name, payload            string
		method, body, ctype, agt string
	}{
		{"plain", `{"url":"URL/a?b=c#d"}`, "GET", "", "", "MorningAI"},
		{"text", `{"url":"URL/a?b=c","body":"h\u00e9"}`, "POST", "hé", "text/plain; charset=utf-8", "MorningAI"},
		{"json", `{"url":"URL/a?b=c","method":"put","body":{"n":1.50,"n2": 12345678901234567890}}`,
			"PUT", `{"n":1.50,"n2": 12345678901234567890}`, "application/json", "MorningAI"},
		{"own type", `{"url":"URL/a?b=c","headers":{"content-type":"text/csv","user-agent":"me"},"body":"a,b"}`,
			"POST", "a,b", "text/csv", "me"},
		{"nulls", `{"url":"URL/a?b=c","headers":null,"body":null,"method":""}`, "GET", "", "", "MorningAI"},
		{"empty body", `{"url":"URL/a?b=c","body":""}`, "POST", "", "text/plain; charset=utf-8", "MorningAI"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reply, err := send(t, loopback, nil, strings.ReplaceAll(tt.payload, "URL", s.URL))
			if err != nil {
				t.Fatal(err)
			}
			if reply != (httpReply{Status: 201, Body: "made <it>"}) {
				t.Errorf("reply %+v", reply)
			}
			if got.Method != tt.method || body != tt.body || got.Header.Get("Content-Type") != tt.ctype ||
				got.UserAgent() != tt.agt || got.RequestURI != "/a?b=c" {
				t.Errorf("sent %s %s %q %v", got.Method, got.RequestURI, body, got.Header)
			}
			id := got.Header.Get("Morningai-Task-Id")
			if _, err := morningai.ParseID(id); err != nil {
				t.Errorf("Morningai-Task-Id: %v", err)
			}
			if a := got.Header.Get("Morningai-Attempt"); a != "3" {
				t.Errorf("Morningai-Attempt %q", a)
			}
			want := regexp.MustCompile("^00-" + strings.ReplaceAll(id, "-", "") + "-[0-9a-f]{16}-01$")
			if tp := got.Header.Get("traceparent"); !want.MatchString(tp) {
				t.Errorf("traceparent %q", tp)
			}
		})
	}
}

func TestHTTPResultBodies(t *testing.T) {
	var answer []byte
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Write(answer) })
	long := strings.Repeat("x", maxBody-1)
	controls := strings.Repeat("\x01", maxBody)
	for _, tt := range []struct {
		name   string
		answer string
		want   httpReply
	}{
		{"empty", "", httpReply{Status: 200}},
		{"exact", long + "y", httpReply{Status: 200, Body: long + "y"}},
		{"over", long + "yz", httpReply{Status: 200, Body: long + "y", Truncated: true}},
		{"split character", long + "é", httpReply{Status: 200, Body: long, Truncated: true}},
		{"not UTF-8", "\xff\xfe", httpReply{Status: 200, Body: "//4=", Encoding: "base64"}},
		{"NUL", "a\x00b", httpReply{Status: 200, Body: "YQBi", Encoding: "base64"}},
		{"many escapes", controls, httpReply{Status: 200, Body: base64.StdEncoding.EncodeToString([]byte(controls)), Encoding: "base64"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer = []byte(tt.answer)
			reply, err := send(t, loopback, nil, object{"url": s.URL})
			if err != nil {
				t.Fatal(err)
			}
			if reply != tt.want {
				t.Errorf("reply of %d bytes, encoding %q, truncated %v", len(reply.Body), reply.Encoding, reply.Truncated)
			}
		})
	}
}

func TestHTTPStatuses(t *testing.T) {
	for code := 200; code <= 999; code++ {
		if code > 600 && code < 999 {
			continue // one of each end stands for what no rule names
		}
		if code >= 300 && code < 400 && code != 300 && code != 304 {
			continue // redirects have their own test
		}
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
		_, err := send(t, loopback, nil, object{"url": s.URL})
		s.Close()
		if code < 300 {
			if err != nil {
				t.Errorf("%d: %v", code, err)
			}
			continue
		}
		retried := code == 408 || code == 425 || code == 429 || code >= 500 && code < 600
		requireCode(t, err, "http_status", !retried)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		header string
		want   time.Duration
		ok     bool
	}{
		{"", 0, false}, {"soon", 0, false}, {"-5", 0, false}, {"1.5", 0, false},
		{"7", 7 * time.Second, true},
		{" 7 ", 7 * time.Second, true},
		{"0", minRetryAfter, true},
		{"86401", maxRetryAfter, true},
		{"99999999999999999999999", maxRetryAfter, true},
		{"Sun, 01 Mar 2026 12:00:30 GMT", 30 * time.Second, true},
		{"Sunday, 01-Mar-26 12:00:30 GMT", 30 * time.Second, true},
		{"Sun Mar  1 12:00:30 2026", 30 * time.Second, true},
		{"Sun, 01 Mar 2026 11:00:00 GMT", minRetryAfter, true},
		{"Sun, 01 Mar 2099 11:00:00 GMT", maxRetryAfter, true},
	} {
		got, ok := retryAfter(tt.header, now)
		if got != tt.want || ok != tt.ok {
			t.Errorf("retryAfter(%q) = %v, %v; want %v, %v", tt.header, got, ok, tt.want, tt.ok)
		}
	}
}

func TestHTTPRefusesPayload(t *testing.T) {
	headers := func(name, value string) object {
		return object{"url": "http://example.invalid/", "headers": object{name: value}}
	}
	many := object{}
	for i := range maxHeaders + 1 {
		many[fmt.Sprintf("x-%d", i)] = "v"
	}
	tests := map[string]any{
		"null": "null", "text": `"http://example.invalid/"`, "array": `[]`, "no url": `{}`, "null url": `{"url":null}`,
		"unknown field":   `{"url":"http://example.invalid/","verb":"GET"}`,
		"other case":      `{"URL":"http://example.invalid/"}`,
		"repeated field":  `{"url":"http://example.invalid/","url":"http://example.invalid/"}`,
		"number as url":   `{"url":5}`,
		"number header":   `{"url":"http://example.invalid/","headers":{"a":1}}`,
		"relative":        object{"url": "/x"},
		"no host":         object{"url": "http://"},
		"file":            object{"url": "file:///etc/passwd"},
		"gopher":          object{"url": "gopher://example.invalid/"},
		"credentials":     object{"url": "http://name:secret@example.invalid/"},
		"name":            object{"url": "http://name@example.invalid/"},
		"bad port":        object{"url": "http://example.invalid:99999/"},
		"port 0":          object{"url": "http://example.invalid:0/"},
		"control in url":  object{"url": "http://example.invalid/\n"},
		"long url":        object{"url": "http://example.invalid/" + strings.Repeat("a", maxURL)},
		"CONNECT":         object{"url": "http://example.invalid/", "method": "CONNECT"},
		"method with CR":  object{"url": "http://example.invalid/", "method": "GET\r\nX: y"},
		"too many":        object{"url": "http://example.invalid/", "headers": many},
		"twice":           object{"url": "http://example.invalid/", "headers": object{"x-a": "1", "X-A": "2"}},
		"line break":      headers("X-A", "secret\r\nX-B: c"),
		"NUL":             headers("X-A", "a\x7f"),
		"empty name":      headers("", "a"),
		"space in name":   headers("X A", "a"),
		"colon in name":   headers("X:A", "a"),
		"name not ASCII":  headers("é", "a"),
		"Host":            headers("host", "secret"),
		"Connection":      headers("Connection", "close"),
		"Transfer":        headers("transfer-encoding", "chunked"),
		"Content-Length":  headers("CONTENT-LENGTH", "5"),
		"TE":              headers("te", "trailers"),
		"Upgrade":         headers("Upgrade", "websocket"),
		"our own":         headers("Morningai-Task-Id", "x"),
		"our traceparent": headers("traceparent", "x"),
	}
	for name, payload := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := send(t, loopback, nil, payload)
			requireCode(t, err, morningai.ErrorCodePayload, true)
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error repeats the payload: %v", err)
			}
		})
	}
}

func TestHTTPGuardsAddresses(t *testing.T) {
	var calls atomic.Int32
	s := serve(t, func(http.ResponseWriter, *http.Request) { calls.Add(1) })
	port := s.URL[strings.LastIndexByte(s.URL, ':'):]
	for _, host := range []string{
		"127.0.0.1", "localhost", "127.1", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1", "127.0.0.1.",
		"[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::]", "0.0.0.0", "0", "10.0.0.1", "169.254.169.254",
		"[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1%25lo]", "[ff02::1%25lo]", "224.0.0.1", "255.255.255.255", "１２７.0.0.1",
	} {
		t.Run(host, func(t *testing.T) {
			_, err := send(t, nil, nil, object{"url": "http://" + host + port + "/?key=secret"})
			requireCode(t, err, CodeAddressNotAllowed, true)
			if !strings.Contains(err.Error(), "--http-allow") || strings.Contains(err.Error(), "secret") {
				t.Errorf("error %v", err)
			}
		})
	}
	if n := calls.Load(); n != 0 {
		t.Errorf("%d requests arrived", n)
	}
}
