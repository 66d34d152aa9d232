package builtin

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
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
	for code := 200; code < 600; code++ {
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
		retried := code == 408 || code == 425 || code == 429 || code >= 500
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

// TestHTTPUsesNoProxy relies on TestMain, which names a proxy in the
// environment: it would be reached, and reach any address for us.
func TestHTTPUsesNoProxy(t *testing.T) {
	_, err := send(t, loopback, nil, object{"url": "http://10.0.0.1/"})
	requireCode(t, err, CodeAddressNotAllowed, true)
}

func TestHTTPRedirects(t *testing.T) {
	type seen struct{ method, body, key, referer, task string }
	var last seen
	var hops int
	var s *httptest.Server
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/back" {
			http.Redirect(w, r, s.URL+"/end", http.StatusFound)
			return
		}
		b, _ := io.ReadAll(r.Body)
		last = seen{r.Method, string(b), r.Header.Get("X-Key"), r.Referer(), r.Header.Get("Morningai-Task-Id")}
	})
	s = serve(t, func(w http.ResponseWriter, r *http.Request) {
		to := map[string]string{
			"/loop": "/loop", "/other": other.URL, "/file": "file:///etc/passwd", "/odd": "http://2130706433/",
			"/inside": "http://127.0.0.2/", "/inside6": "http://[::1]/", "/here": "/end", "/keep": other.URL, "/bounce": other.URL + "/back",
		}[r.URL.Path]
		hops++
		switch {
		case r.URL.Path == "/end":
			last = seen{method: r.Method, key: r.Header.Get("X-Key"), referer: r.Referer()}
		case r.URL.Path == "/keep":
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
		case to != "":
			http.Redirect(w, r, to, http.StatusFound)
		}
	})
	only := prefixes("127.0.0.1/32")
	request := func(path string) object {
		return object{"url": s.URL + path, "method": "POST", "body": "text", "headers": object{"X-Key": "secret"}}
	}

	if _, err := send(t, only, nil, request("/here?q=secret")); err != nil {
		t.Fatal(err)
	}
	if last != (seen{method: "GET", key: "secret"}) {
		t.Errorf("to the same origin: %+v", last)
	}
	if _, err := send(t, only, nil, request("/bounce?q=secret")); err != nil {
		t.Fatal(err)
	}
	if last != (seen{method: "GET"}) {
		t.Errorf("back from another origin: %+v", last)
	}
	if _, err := send(t, only, nil, request("/keep?q=secret")); err != nil {
		t.Fatal(err)
	}
	if last.method != "POST" || last.body != "text" || last.key != "" || last.referer != "" || last.task == "" {
		t.Errorf("307 to another origin: %+v", last)
	}
	if _, err := send(t, only, nil, request("/other?q=secret")); err != nil {
		t.Fatal(err)
	}
	if last.method != "GET" || last.body != "" || last.key != "" || last.referer != "" {
		t.Errorf("302 to another origin: %+v", last)
	}

	for path, code := range map[string]string{
		"/file": "http_redirect", "/odd": CodeAddressNotAllowed, "/inside": CodeAddressNotAllowed, "/inside6": CodeAddressNotAllowed,
	} {
		_, err := send(t, only, nil, request(path))
		requireCode(t, err, code, true)
	}
	hops = 0
	_, err := send(t, only, nil, request("/loop"))
	requireCode(t, err, "too_many_redirects", true)
	if hops != maxRedirects+1 {
		t.Errorf("%d requests, want %d", hops, maxRedirects+1)
	}
}

// TestHTTPRebinding resolves one name to an allowed address first and to a
// forbidden one afterwards, on the next task and in the middle of a redirect.
func TestHTTPRebinding(t *testing.T) {
	var queries, calls atomic.Int32
	resolver := dnsServer(t, func() [4]byte {
		if queries.Add(1)%2 == 1 {
			return [4]byte{127, 0, 0, 1}
		}
		return [4]byte{127, 0, 0, 2}
	})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if r.URL.Path == "/again" {
			http.Redirect(w, r, "/", http.StatusFound)
		}
	})
	port := s.URL[strings.LastIndexByte(s.URL, ':'):]
	only := prefixes("127.0.0.1/32")
	if _, err := send(t, only, resolver, object{"url": "http://rebind.test" + port + "/"}); err != nil {
		t.Fatal(err)
	}
	_, err := send(t, only, resolver, object{"url": "http://rebind.test" + port + "/"})
	requireCode(t, err, CodeAddressNotAllowed, true)
	_, err = send(t, only, resolver, object{"url": "http://rebind.test" + port + "/again"})
	requireCode(t, err, CodeAddressNotAllowed, true)
	if n := calls.Load(); n != 2 {
		t.Errorf("%d requests arrived, want 2", n)
	}
}

// dnsServer answers questions for IPv4 addresses with what answer says, and
// has no address of another kind. It returns a resolver that asks it.
func dnsServer(t *testing.T, answer func() [4]byte) *net.Resolver {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			end := 12 // of the one question: labels, a zero, type and class
			for end < n && buf[end] != 0 {
				end += int(buf[end]) + 1
			}
			end += 5
			if end > n {
				continue
			}
			msg := append([]byte{}, buf[:end]...)
			binary.BigEndian.PutUint16(msg[2:], 0x8180) // an answer, no error
			binary.BigEndian.PutUint16(msg[10:], 0)     // nothing additional
			if binary.BigEndian.Uint16(msg[end-4:]) == 1 {
				binary.BigEndian.PutUint16(msg[6:], 1)
				ip := answer()
				msg = append(msg, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
				msg = append(msg, ip[:]...)
			}
			if _, err := conn.WriteTo(msg, from); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func TestHTTPNetworkErrors(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	broken := serve(t, func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) })
	short := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.Write([]byte("x"))
	})
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	headers := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("a", 2*maxHeaderSize))
	})
	nowhere := dnsServer(t, func() [4]byte { return [4]byte{} })
	for name, tt := range map[string]struct{ url, message string }{
		"refused":      {gone.URL, "no connection could be made"},
		"broken":       {broken.URL, "the connection broke, or the answer was not HTTP"},
		"short":        {short.URL, "the connection broke, or the answer was not HTTP"},
		"headers":      {headers.URL, "the connection broke, or the answer was not HTTP"},
		"certificate":  {secure.URL, "no secure connection could be made, or the certificate is not trusted"},
		"not TLS":      {strings.Replace(broken.URL, "http:", "https:", 1), "no secure connection could be made, or the certificate is not trusted"},
		"unknown name": {"http://" + strings.Repeat("a", 64) + ".test/", "the name of the host could not be resolved"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := send(t, loopback, nowhere, object{"url": tt.url + "/?key=secret"})
			requireCode(t, err, "unreachable", false)
			if te, _ := errors.AsType[*morningai.TaskError](err); te.Message != tt.message {
				t.Errorf("message %q, want %q", te.Message, tt.message)
			}
		})
	}
}

func TestHTTPCancel(t *testing.T) {
	arrived := make(chan struct{})
	release := make(chan struct{})
	s := serve(t, func(http.ResponseWriter, *http.Request) { close(arrived); <-release })
	t.Cleanup(func() { close(release) })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	g, _ := newGuard(loopback)
	_, err := newCaller(g, nil).handle(ctx, httpTask(t, `{"url":"`+s.URL+`"}`))
	if err != context.Canceled {
		t.Errorf("error %v, want context.Canceled", err)
	}
}
